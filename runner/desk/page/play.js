const MOST_AT_ONCE = 16;
const HOVER_MILLISECONDS = 140;
const MOST_DRIFT_SECONDS = 0.05;
let withSound = false;
let together = null;

// A video element exists only while it plays.
function play(frame, { pinned, loop = true }) {
  if (!isThere(frame)) return null;
  if (frame.player === null) {
    const player = make('video', { playsinline: true, preload: 'auto', tabindex: '-1', 'aria-hidden': 'true' });
    player.src = frame.video.href;
    player.addEventListener('error', () => gone(frame));
    frame.player = player;
    frame.tile.querySelector('.frame').append(player);
    frame.tile.classList.add('playing');
  }
  frame.player.loop = loop;
  frame.player.muted = !(withSound && pinned);
  frame.pinned = frame.pinned || pinned;
  return frame.player;
}

function start(frame, pinned) {
  const player = play(frame, { pinned });
  // a browser that wants a click first refuses by a rejection; the poster stays
  if (player !== null) player.play().catch(() => {});
  return player !== null;
}

function stop(frame) {
  if (frame.player === null) return;
  const { player } = frame;
  frame.player = null;
  frame.pinned = false;
  player.pause();
  player.remove();
  player.removeAttribute('src');
  player.load();
  frame.tile.classList.remove('playing');
}

function stopAll() {
  together = null;
  for (const frame of frames) stop(frame);
}

function gone(frame) {
  if (frame.player === null) return;
  missing.add(frame.video.path);
  stop(frame);
  frame.tile.querySelector('.frame').replaceWith(picture(frame));
  describe(frame);
  if (chosen === frame) showDetails(frame);
  say(`${frame.task.name}: its file is not here or cannot be played`);
}

function toggle(frame) {
  if (frame.pinned) {
    stop(frame);
    say('stopped');
  } else if (start(frame, true)) {
    say(`${frame.task.name} plays`);
  } else {
    say(frame.video === null ? `${frame.task.name} is ${frame.task.state}: nothing to play` : `${frame.task.name}: ${whereItIs(frame)}`);
  }
}

const ready = (player) => new Promise((resolve) => {
  if (player.readyState >= 3) resolve();
  for (const event of ['canplay', 'error', 'emptied']) player.addEventListener(event, resolve, { once: true });
});

// All of a row from one moment on; the longest leads, the others are held to it.
async function playTogether(some) {
  const playable = some.filter((frame) => isShown(frame) && isThere(frame));
  const wasPlaying = together !== null && together.some === some;
  stopAll();
  if (wasPlaying || playable.length === 0) {
    say(wasPlaying ? 'stopped' : 'nothing to play in this row');
    return;
  }
  const session = { some, players: [] };
  together = session;
  const group_ = playable.slice(0, MOST_AT_ONCE);
  say(playable.length > MOST_AT_ONCE ? `the first ${MOST_AT_ONCE} of ${playable.length} play` : `${plural(group_.length, 'frame')} play in step`);
  const players = group_.map((frame) => play(frame, { pinned: true, loop: false }));
  for (const player of players) player.muted = true;
  await Promise.all(players.map(ready));
  if (together !== session) return;
  session.players = players.filter((player) => player.isConnected && !player.error);
  if (session.players.length === 0) return;
  const leader = session.players.reduce((one, other) => (other.duration > one.duration ? other : one));
  const again = () => {
    if (together !== session) return;
    for (const player of session.players) player.currentTime = 0;
    for (const player of session.players) player.play().catch(() => {});
  };
  leader.addEventListener('ended', again);
  again();
  hold(session, leader);
}

function hold(session, leader) {
  if (together !== session) return;
  for (const player of session.players) {
    const target = Math.min(leader.currentTime, player.duration || 0);
    if (player !== leader && !player.ended && !player.seeking && Math.abs(player.currentTime - target) > MOST_DRIFT_SECONDS) {
      player.currentTime = target;
    }
  }
  setTimeout(() => hold(session, leader), 250);
}

function hover(element) {
  let timer = 0;
  element.addEventListener('pointerover', (event) => {
    const tileElement = event.target.closest('.tile');
    if (event.pointerType !== 'mouse' || calm.matches || tileElement === null || together !== null) return;
    clearTimeout(timer);
    const { frame } = tileElement;
    timer = setTimeout(() => { if (frame.player === null) start(frame, false); }, HOVER_MILLISECONDS);
  });
  element.addEventListener('pointerout', (event) => {
    const tileElement = event.target.closest('.tile');
    if (tileElement === null || tileElement.contains(event.relatedTarget)) return;
    clearTimeout(timer);
    if (!tileElement.frame.pinned) stop(tileElement.frame);
  });
}

function setSound(on) {
  withSound = on;
  byId('sound').setAttribute('aria-pressed', String(on));
  for (const frame of frames) if (frame.player !== null && together === null) frame.player.muted = !(on && frame.pinned);
  say(on ? 'sound on' : 'sound off');
}
