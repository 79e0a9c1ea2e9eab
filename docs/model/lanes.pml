/* Several machines on one lane: who may submit, and what may be concluded when one of them falls silent.

   One task of one lane, and PROCESSES runs of callsheet that take the lane one after another, each on a machine
   of its own. A process may sleep between any two of its steps, for as long as the clock likes: nothing here
   ever has to happen. docs/model/README.md says what is left out, and why that is safe.

   Each `#ifdef` is of a broken variant: scripts/model defines one of their names at a time. */

/* scripts/model looks for the errors of a broken variant in a smaller world than it searches the sound model in. */
#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef DECISIONS
#define DECISIONS 2
#endif
#define ATTEMPTS  (DECISIONS + 1)
#define NOBODY    PROCESSES
#define NEW       ATTEMPTS      /* the place of an attempt whose row is not written yet */

/* Time is the step `time passes`: the moment at which the guard of each renewal so far has run out, 20 s after it was
   sent. Nobody finds a lease silent before that: a person watches its counter for 25 s, another machine for 60 s. */

/* What may never happen. scripts/model sets CLAIM to look for one of them alone. */
#define ANY            0
#define PAID_TWICE     1
#define LOST           2
#define WRONGLY_ABSENT 3
#define TOLD_WRONGLY   4
#ifndef CLAIM
#define CLAIM ANY
#endif
#define is_claimed(what) (CLAIM == ANY || CLAIM == what)
bit paid_twice, lost, wrongly_absent, told_wrongly;

/* The states of an attempt (runner/ledger/states.py). `withdrawn` and `absent` are both `planned` there: the first
   has no resolution, so that its id is used again; `again` is `planned` by a person's word. */
mtype:state = { unwritten, intended, withdrawn, ambiguous, held, submitted, absent, again };

/* One write transaction of a process (runner/ledger/ledger.py): what it is about to do, or does. */
mtype:step = { nothing, recover, intend, accept, withdraw, leave_unclear, adopt, conclude_absent, hold, ask_again,
    sign_off };

/* `begun`: from its first statement, which locks the ledger and reads the fence, until the database has ended it.
   `committed`: an intent that is durable, and whose process has not yet heard so. */
mtype:transaction = { none, begun, committed };

/* The ledger: committed rows only. */
mtype:state state[ATTEMPTS + 1];
byte decided[ATTEMPTS + 1];     /* the decision to pay that an attempt is of */
bit never_absent;               /* the mark of the newest attempt: found intended after a takeover without sign-off */
byte made;                      /* attempts */
byte decision;                  /* the decision that the next attempt is of */
byte ledger_id;
byte holder = NOBODY;           /* of the lease; NOBODY: it was signed off, or never held */
bit is_free = 1;                /* the lease may be taken at once */
byte fence;
bit is_silent;                  /* time has passed since the lease's counter was raised */
byte locked_by = NOBODY;        /* the one row that each write transaction locks first */
#define newest      state[made - 1]
#define is_unclear  (made > 0 && newest == ambiguous)
#define is_held     (made > 0 && newest == held)
#define is_done     (made > 0 && newest == submitted)
#define is_reused   (made > 0 && newest == withdrawn)
#define has_stranded (made > 0 && newest == intended)
#define may_pay     (made == 0 || newest == withdrawn || ((newest == absent || newest == again) && made < ATTEMPTS))

/* The memory of each process. */
byte taken;                     /* processes that have had the lane, in the order of their numbers */
mtype:step step[PROCESSES];
mtype:transaction transaction[PROCESSES];
byte mine[PROCESSES];           /* the attempt that it makes a POST of */
byte my_fence[PROCESSES];
byte my_ledger[PROCESSES];
bit is_fresh[PROCESSES];        /* its guard: no time has passed since its last renewal was sent */
bit in_window[PROCESSES];       /* the guard was checked, and the request is not yet whole at the service */
bit is_sent[PROCESSES];         /* the request is at the service, and the connection is open */
bit ended[PROCESSES];           /* it works on this lane no more, and its connection is closed */
#ifdef LEDGER_ID_NOT_COMPARED
#define is_fenced(p) (holder != NOBODY && my_fence[p] == fence)
#else
#define is_fenced(p) (holder != NOBODY && my_fence[p] == fence && my_ledger[p] == ledger_id)
#endif
/* the last process is never followed, so that nothing has to be waited for any more */
#define is_last (taken == PROCESSES)

/* The service: requests whose connection was closed before they were answered, what it has accepted, and whether
   its list shows the newest attempt, or a task of ours that it accepted after the doubt of that attempt. */
bit is_stray[ATTEMPTS + 1];
byte billed[DECISIONS];
bit is_accepted, is_listed, is_witnessed;

inline claim() {
    assert(!(paid_twice && is_claimed(PAID_TWICE)));
    assert(!(lost && is_claimed(LOST)));
    assert(!(wrongly_absent && is_claimed(WRONGLY_ABSENT)));
    assert(!(told_wrongly && is_claimed(TOLD_WRONGLY)))
}

/* The service accepts a POST of attempt a. The ledger has to know then that this may be so. */
inline bill(a) {
    printf("the service accepts a POST of attempt %d\n", a);
    is_accepted = is_accepted || a == made - 1;
    billed[decided[a]]++;
    paid_twice = billed[decided[a]] > 1;
    wrongly_absent = state[a] == absent;
    lost = state[a] == unwritten || state[a] == withdrawn || state[a] == absent;
    claim()
}

/* Nobody knows whether the service has accepted attempt a. A witness has to be accepted after this. */
inline doubt(a) {
    state[a] = ambiguous;
#ifndef WITNESS_FROM_BEFORE
    is_witnessed = 0
#endif
}

/* What a process before left between intent and outcome (Ledger.recover). */
inline mark_stranded(is_signed_off) {
    if
    :: has_stranded ->
        doubt(made - 1);
#ifndef TAKEOVER_CONCLUDES_ABSENT
        never_absent = !(is_signed_off);
#endif
        printf("  attempt %d was left intended: unclear (never absent: %d)\n", made - 1, never_absent)
    :: else
    fi
}

/* Process p works on this lane no more. */
inline end(p) {
    if
    :: is_sent[p] -> is_sent[p] = 0; is_stray[mine[p]] = 1
    :: else
    fi;
    in_window[p] = 0;
    is_fresh[p] = 0;
    ended[p] = 1;
    if
    :: transaction[p] == begun    /* the database ends it, one way or the other */
    :: else -> transaction[p] = none; step[p] = nothing; mine[p] = 0
    fi
}

/* The lane goes to somebody else. Its holder will find that out when it next writes. If it is not on the way to a
   POST that is all it will ever do, so it ends here: the same histories, in fewer states. */
inline lose() {
    if
    :: holder != NOBODY && !ended[holder] && step[holder] != intend -> end(holder)
    :: else
    fi;
    holder = NOBODY
}

/* The lease may be taken at once. The fence is raised, so that its holder can neither write nor renew. */
inline sign_off_lease() {
    is_free = 1;
    holder = NOBODY;
    fence++
}

/* COMMIT: the rows of what p has decided, by what it read under the lock. */
inline write(p) {
    printf("  committed: %e of process %d\n", step[p], p);
    if
    :: step[p] == intend ->
        if
        :: mine[p] == NEW && made < ATTEMPTS ->
            mine[p] = made;
            made++;
            is_accepted = 0; is_listed = 0; is_witnessed = 0; never_absent = 0;
        :: else
        fi;
        lost = state[mine[p]] == submitted;
        state[mine[p]] = intended;
        decided[mine[p]] = decision
    :: step[p] == accept -> state[mine[p]] = submitted
    :: step[p] == withdraw -> state[mine[p]] = withdrawn
    :: step[p] == leave_unclear -> doubt(mine[p])
    :: step[p] == adopt -> state[mine[p]] = submitted
    :: step[p] == conclude_absent ->
        state[mine[p]] = absent;
        wrongly_absent = is_accepted;
        lost = is_accepted
    :: step[p] == hold -> state[mine[p]] = held
    :: step[p] == ask_again -> state[mine[p]] = again; decision = decided[mine[p]] + 1
    :: step[p] == sign_off -> sign_off_lease(); ended[p] = 1
#ifdef RECOVER_APART
    :: step[p] == recover -> mark_stranded(was_free[p])
#endif
    fi;
    claim()
}

#ifdef RECOVER_APART
bit was_free[PROCESSES];
#endif
#ifdef LOST_COMMIT_NOT_AWAITED
bit is_given_up[PROCESSES];
#endif
#ifdef WITNESS_FROM_BEFORE
#define may_be_witnessed (made > 0)
#else
#define may_be_witnessed is_unclear
#endif
#ifdef ABSENT_WITHOUT_WITNESS
#define shows_witness 1
#else
#define shows_witness is_witnessed
#endif
#ifdef NO_GUARD
#define may_send(p) 1
#else
#define may_send(p) is_fresh[p]
#endif
#ifdef FENCE_WITHOUT_LOCK
#define may_lock 1
#else
#define may_lock (locked_by == NOBODY)
#endif

/* A run of callsheet, from the lease (runner/lane/lease.py) to its sign-off. */
proctype Process(byte me) {
    /* One transaction takes the lease and marks what it finds. It locks the row, so that it waits for the end of any
       transaction that has read the fence. */
    atomic {
        taken == me && may_lock && (is_free || is_silent) && !is_done ->
        printf("process %d takes the lane (signed off: %d)\n", me, is_free);
#ifdef RECOVER_APART
        was_free[me] = is_free;
        step[me] = recover;
#else
        mark_stranded(is_free);
#endif
#ifdef MARK_FORGOTTEN
        never_absent = never_absent && !is_free;
#endif
        lose();
        holder = me;
        is_free = 0;
        fence++;
        my_fence[me] = fence;
        my_ledger[me] = ledger_id;
        is_silent = 0;
        taken++
    }
    do
    /* The first statements of a write transaction: lock, fence, and what the rows allow. What the list shows was read
       before. A step that was rolled back goes again; a decision is made anew. */
    :: atomic {
        !ended[me] && transaction[me] == none && !in_window[me] && !is_sent[me] && may_lock ->
        if
        :: !is_fenced(me) -> printf("process %d finds that it has lost the lane\n", me); break
        :: is_fenced(me) && step[me] != nothing
        :: is_fenced(me) && step[me] == nothing ->
            mine[me] = (may_pay && !is_reused -> NEW : made - 1);
            if
            :: may_pay -> step[me] = intend
            :: (is_unclear || is_held) && is_listed -> step[me] = adopt
            :: is_unclear && !is_listed && shows_witness && !never_absent -> step[me] = conclude_absent
            :: is_unclear -> step[me] = hold
            :: is_held && decision + 1 < DECISIONS && made < ATTEMPTS -> step[me] = ask_again
            :: !has_stranded && !is_done && !is_last -> step[me] = sign_off; mine[me] = 0
            fi
        fi;
        printf("process %d begins: %e\n", me, step[me]);
        transaction[me] = begun;
        locked_by = me
       }
    /* The intent is durable, and its process hears so: at once, or by asking for its batch where the answer was
       lost. It connects, and looks at the guard last. Where that refuses, the POST was not sent. */
    :: atomic {
        transaction[me] == committed ->
        transaction[me] = none;
        if
        :: may_send(me) -> in_window[me] = 1; printf("process %d: the guard lets attempt %d pass\n", me, mine[me])
        :: step[me] = withdraw; printf("process %d does not send attempt %d\n", me, mine[me])
        fi;
        is_fresh[me] = 0
       }
    /* The first byte, up to the last one. Whoever has lost the lane meanwhile can write nothing down any more. */
    :: atomic {
        in_window[me] ->
        printf("process %d sends attempt %d\n", me, mine[me]);
        in_window[me] = 0;
        is_sent[me] = 1;
        step[me] = nothing;
        if
        :: is_fenced(me)
        :: else -> break
        fi
       }
    /* The connection breaks before an answer, or the process stops waiting for one. */
    :: atomic {
        is_sent[me] ->
        printf("process %d gets no answer for attempt %d\n", me, mine[me]);
        is_sent[me] = 0;
        is_stray[mine[me]] = 1;
        step[me] = leave_unclear
       }
#ifdef SIGN_OFF_WITH_INTENDED
    :: atomic {
        transaction[me] == committed && is_fenced(me) ->
        printf("process %d signs off\n", me);
        sign_off_lease()
       }
#endif
#ifdef LOST_COMMIT_NOT_AWAITED
    :: atomic {
        transaction[me] == begun && step[me] == intend ->
        printf("process %d says: nothing was written\n", me);
        is_given_up[me] = 1
       }
#endif
    :: ended[me] -> break
    od;
    atomic { end(me) }
}

/* The database's side of the transaction of process p. It commits; or it rolls back, where the process is silent for
   too long, the connection is cut, or the server falls. The process comes to know which it was: a COMMIT without an
   answer is settled by a read that waits for the old transaction (runner/ledger/postgres.py). */
proctype Database(byte p) {
    do
    :: atomic {
        transaction[p] == begun ->
        write(p);
#ifdef LOST_COMMIT_NOT_AWAITED
        told_wrongly = is_given_up[p];
        claim();
#endif
        locked_by = NOBODY;
        if
        :: step[p] == intend && !ended[p] -> transaction[p] = committed
#ifdef REUSE_WITHOUT_INTENT
        :: step[p] == withdraw && !ended[p] -> transaction[p] = committed; step[p] = intend
#endif
        :: step[p] != intend || ended[p] -> transaction[p] = none; step[p] = nothing; mine[p] = 0
        fi
       }
    :: atomic {
        transaction[p] == begun ->
        printf("  rolled back: %e of process %d\n", step[p], p);
        locked_by = NOBODY;
        transaction[p] = none;
        if
        :: (step[p] == accept || step[p] == withdraw || step[p] == leave_unclear || step[p] == recover) && !ended[p]
#ifdef LOST_COMMIT_TAKEN_FOR_COMMITTED
        :: step[p] == intend && !ended[p] -> transaction[p] = committed
#endif
#ifdef LOST_COMMIT_SOUGHT_BY_ATTEMPT
        :: step[p] == intend && !ended[p] && mine[p] != NEW -> transaction[p] = committed
#endif
        :: else -> step[p] = nothing; mine[p] = 0; is_fresh[p] = 0
        fi
       }
    od
}

/* Renewals: a compare-and-swap on the lease's counter, in a transaction of its own. One that is answered late only
   makes the guard end sooner, so each is answered at once here. One that no POST comes after only makes others wait,
   so they are made where a POST is on its way. */
proctype Heartbeat(byte p) {
#ifdef GUARD_FROM_ANSWER
    bit is_awaited;
#endif
    do
    :: atomic {
        step[p] == intend && !in_window[p] && is_fenced(p) && !(is_fresh[p] && !is_silent) ->
        printf("process %d renews\n", p);
        is_silent = 0;
#ifdef GUARD_FROM_ANSWER
        is_awaited = 1
       }
    :: atomic {
        is_awaited ->
        printf("process %d hears that it has renewed\n", p);
        is_awaited = 0;
#endif
        is_fresh[p] = 1
       }
#ifdef LOST_RENEWAL_COUNTS
    :: atomic {
        step[p] == intend && !is_fresh[p] ->
        printf("process %d takes a renewal without an answer for made\n", p);
        is_fresh[p] = 1
       }
#endif
    od
}

/* What the service does with an open request. It refuses it, or accepts it. */
proctype Service(byte p) {
    do
    :: atomic { is_sent[p] -> bill(mine[p]); is_sent[p] = 0; step[p] = accept }
    :: atomic {
        is_sent[p] ->
        printf("the service refuses attempt %d\n", mine[p]);
        is_sent[p] = 0;
        step[p] = withdraw
       }
    od
}

/* What it does with a request whose connection is closed. */
proctype Stray(byte a) {
    do
    :: atomic { is_stray[a] -> is_stray[a] = 0; bill(a) }
    :: atomic { is_stray[a] -> is_stray[a] = 0 }
    od
}

/* Its list. It shows what was accepted, sooner or later; in the order in which it was accepted, so that a witness
   stands for all that came before it. With a request whose connection was closed the service is done within
   run.settle. */
proctype List() {
    do
    :: atomic { is_accepted && !is_listed -> printf("the list shows attempt %d\n", made - 1); is_listed = 1 }
    :: atomic {
        may_be_witnessed && !is_witnessed && !is_stray[made - 1] && (!is_accepted || is_listed) ->
        printf("the list shows a task that was accepted after the doubt\n");
        is_witnessed = 1
       }
    od
}

proctype Clock() {
    byte p;
    do
    :: atomic {
        !is_last && !is_silent ->
        printf("(time passes)\n");
        is_silent = 1;
#ifndef LONG_GUARD
        for (p : 0 .. PROCESSES - 1) { is_fresh[p] = 0 }
        p = 0
#endif
       }
    od
}

#ifdef GUARD_BEFORE_CONNECT
/* the window is then as long as the connecting: a process may well fall asleep in it */
#define is_asleep_in_window 0
#else
#define is_asleep_in_window in_window[holder]
#endif
#ifdef RECOVER_WITHOUT_WAIT
#define is_run_out 1
#else
#define is_run_out is_silent
#endif
#ifdef RECOVER_CONCLUDES_ABSENT
#define recovered withdrawn
#else
#define recovered held
#endif
#ifdef LOCK_OF_ANOTHER_FILE
#define is_proved_ended 1
#else
#define is_proved_ended ended[holder]
#endif
#ifdef SIGN_OFF_OF_THE_LIVING
#define is_watched 1
#else
#define is_watched is_silent
#endif

/* Kills, and what a person does by hand. */
proctype World() {
    do
    /* A kill; a process that has lost the lane might as well sleep on. */
    :: atomic {
        holder != NOBODY && !ended[holder] && !is_last ->
        printf("process %d is killed\n", holder);
        end(holder)
       }
    /* `callsheet lease sign-off`: the process has ended; or it only sleeps, and a person believes that it has ended, as
       nothing is heard of it. The next run in the same project needs no person: it has the lock that the process held
       until its end (runner/ledger/driver_lock.py). */
    :: atomic {
        may_lock && holder != NOBODY && !is_free && !is_last && !is_done &&
        (is_proved_ended || (is_watched && !is_asleep_in_window)) ->
        printf("a person signs process %d off (ended: %d)\n", holder, ended[holder]);
#ifdef SIGN_OFF_KEEPS_FENCE
        is_free = 1
#else
        lose();
        sign_off_lease()
#endif
       }
    /* The database is lost, and `callsheet recover` makes another from the logs of the runs, which have an intent
       before its POST begins. It waits for the old leases to run out, and holds what it cannot prove. */
    :: atomic {
        ledger_id == 0 && locked_by == NOBODY && holder != NOBODY && is_run_out && !is_last && !is_done ->
        printf("the ledger is lost, and recovered\n");
        if
        :: has_stranded && transaction[holder] == committed -> newest = withdrawn
        :: (has_stranded && transaction[holder] != committed) || is_unclear -> newest = recovered
        :: else
        fi;
        lose();
        is_free = 1;
        fence = 0;
        ledger_id++
       }
    od
}

init {
    byte i;
    atomic {
        for (i : 0 .. ATTEMPTS) { state[i] = unwritten }
        for (i : 0 .. ATTEMPTS - 1) { run Stray(i) }
#if defined(LOST_COMMIT_TAKEN_FOR_COMMITTED)
        run Stray(NEW);
#endif
        for (i : 0 .. PROCESSES - 1) {
            step[i] = nothing;
            transaction[i] = none;
            run Process(i);
            run Database(i);
            run Heartbeat(i);
            run Service(i)
        }
        i = 0;
        run List();
        run Clock();
        run World()
    }
}
