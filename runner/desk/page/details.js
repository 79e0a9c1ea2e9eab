const aside = byId('details');
let chosen = null;

function fact(list, name, value, small) {
  if (value === null || value === undefined || value === '') return;
  list.append(make('dt', {}, name), make('dd', { dir: 'auto' }, value, small ? make('small', {}, small) : null));
}

function link(text, href) {
  return href ? make('a', { href, target: '_blank', rel: 'noopener' }, text) : text;
}

function seedFacts(list, task) {
  if (task.seed !== null) {
    const differs = task.echo !== null && task.echo !== undefined && task.echo !== task.seed;
    const told = task.echo === null || task.echo === undefined ? 'not echoed by the service' : 'echoed by the service';
    fact(list, 'Seed', String(task.seed), differs ? `the service echoed ${task.echo}` : told);
  } else if (task.echo !== null && task.echo !== undefined) {
    fact(list, 'Seed', String(task.echo), 'chosen by the service; none was sent');
  }
  if (task.sample !== null) fact(list, 'Sample', String(task.sample));
}

function timings(task) {
  const sums = new Map();
  for (const [phase, begin, end] of task.spans) sums.set(data.phases[phase], (sums.get(data.phases[phase]) ?? 0) + end - begin);
  return [...sums].map(([phase, milliseconds]) => `${phase} ${seconds(milliseconds / 1000)}`).join(', ');
}

function costWords(task) {
  const told = data.rehearsal ? 'rehearsed, nothing paid' : task.cached ? 'paid in an earlier run' : '';
  if (task.cost) return [usd(task.cost), told];
  if (task.estimate) return [`about ${usd(task.estimate)}`, [task.attempts.length ? 'the actual cost is not known yet' : 'an estimate', told].filter(Boolean).join('; ')];
  return [task.attempts.length ? 'price not known' : 'nothing yet', told];
}

function fileFacts(list, frame) {
  const { task, video } = frame;
  if (video !== null) {
    const picture_ = video.width ? `${video.width} × ${video.height}` : '';
    const about = [picture_, video.duration ? `${video.duration.toFixed(2)} s` : '', video.fps ? `${Math.round(video.fps * 100) / 100} fps` : '', video.codec, video.has_sound ? 'with sound' : 'silent', bytes(video.bytes)];
    fact(list, 'File', isThere(frame) ? link(video.path, video.href) : video.path, about.filter(Boolean).join(', '));
  }
  for (const other of task.others) fact(list, other.kind.replace('_', ' '), link(other.path, other.href));
  if (task.inputs.length) fact(list, 'Inputs', task.inputs.join(', '));
}

function advised(frame) {
  const { task } = frame;
  if (task.advice) return task.advice;
  if (frame.video !== null && !isThere(frame)) {
    if (inStore(frame)) return { text: 'The file lies in the store, not here. This brings it back:', command: inStore(frame) };
    return { text: 'The file was moved or deleted since. A run fetches it again, free of charge, while the service has it.', command: data.again };
  }
  return null;
}

function showDetails(frame) {
  const { task } = frame;
  const list = make('dl', { class: 'facts' });
  fact(list, 'Model', task.model, data.compares ? `at ${task.account}` : '');
  seedFacts(list, task);
  fact(list, 'Request', Object.entries(task.request).map(([name, value]) => `${name} ${value}`).join(', '));
  fileFacts(list, frame);
  fact(list, 'Cost', ...costWords(task));
  if (task.tokens) fact(list, 'Tokens', task.tokens.toLocaleString('en'));
  fact(list, 'Timing', timings(task));
  if (task.attempts.length > 1) fact(list, 'Attempts', String(task.attempts.length), task.attempts.map(({ reason, state, cost }) => `${reason}: ${state}${cost ? `, ${usd(cost)}` : ''}`).join('; '));
  fact(list, 'Service id', task.remote ? make('span', { class: 'mono' }, task.remote) : null);
  const advice = advised(frame);
  const elsewhere = inStore(frame) ? `${task.state}, in the store` : `${task.state}, but its file is not here`;
  const word = frame.video !== null && !isThere(frame) ? elsewhere : task.state;
  const parts = [
    make('button', { type: 'button', class: 'close', 'aria-label': 'Close' }, '✕'),
    make('h2', {}, make('bdi', {}, task.name), frame.take > 1 ? `, take ${frame.take}` : ''),
    make('p', { class: 'state', 'data-state': task.state }, make('b', {}, word), task.cached ? ', from an earlier run' : '', task.in_plan ? '' : ', no longer in the plan'),
    task.error ? make('p', { dir: 'auto' }, make('b', { class: 'mono' }, task.error.code), ' ', task.error.message) : null,
    advice ? make('p', { class: 'advice' }, advice.text, advice.command ? command(advice.command) : null) : null,
    make('p', { class: 'prompt', dir: 'auto' }, task.prompt),
    actions(frame),
    list,
    make('p', { class: 'more quiet' }, 'All that is known of it:', command(task.show)),
  ];
  aside.replaceChildren(...parts.filter(Boolean));
  aside.querySelector('.close').addEventListener('click', () => { closeDetails(); frame.tile.focus(); });
  aside.scrollTop = 0;
}

function actions(frame) {
  const box = make('div', { class: 'actions' });
  if (isThere(frame)) {
    const button = make('button', { type: 'button' }, 'Play');
    button.addEventListener('click', () => toggle(frame));
    box.append(button);
  }
  const mark = make('button', { type: 'button', 'aria-pressed': String(isMarked(frame)) }, 'Mark');
  mark.addEventListener('click', () => toggleMark(frame));
  box.append(mark);
  return box;
}

function choose_(frame, { focus = true } = {}) {
  if (chosen !== null && chosen.tile !== null) {
    chosen.tile.classList.remove('chosen');
    chosen.tile.tabIndex = -1;
  }
  chosen = frame;
  frame.tile.classList.add('chosen');
  frame.tile.tabIndex = 0;
  if (focus) frame.tile.focus();
  if (wide.matches || aside.classList.contains('open')) showDetails(frame);
  markLane(frame);
}

function openDetails(frame) {
  aside.classList.add('open');
  showDetails(frame);
}

function closeDetails() {
  aside.classList.remove('open');
}
