const sheet = byId('sheet');
let shown = [];

// Pictures are decoded when they come near.
const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      target.src = data.posters[target.dataset.path];
      watcher.unobserve(target);
    }
  }
}, { rootMargin: '600px' });

function picture(frame) {
  const { task, video } = frame;
  const box = make('div', { class: 'frame' });
  box.style.setProperty('--a', task.aspect);
  if (video === null) {
    const why = task.error ? task.error.message || task.error.code : '';
    box.append(make('div', { class: 'blank' }, make('b', {}, task.state), make('span', { dir: 'auto' }, why.slice(0, 120))));
  } else if (data.posters[video.path]) {
    const image = make('img', { alt: '', decoding: 'async', 'data-path': video.path });
    watcher.observe(image);
    box.append(image);
  } else {
    box.append(make('div', { class: 'blank' }, make('span', {}, isThere(frame) ? 'no picture of it yet' : '')));
  }
  if (video !== null && !isThere(frame)) {
    box.classList.add('gone');
    box.append(make('div', { class: 'tag' }, whereItIs(frame)));
  }
  return box;
}

const expected = (task) => (task.estimate ? `about ${usd(task.estimate)}` : 'price not known');

function meta({ task, video }) {
  if (video === null) return data.compares && !task.attempts.length ? expected(task) : '';
  if (task.state !== 'done') return task.state;
  if (task.cost) return usd(task.cost);
  if (data.compares) return expected(task);
  return video.duration ? `${video.duration.toFixed(1)} s` : '';
}

function what(frame, axes) {
  const { seed, sample } = frame.task;
  const words = axes.map((axis) => {
    if (data.axes[axis].name !== TAKE) return label(axis, place(frame, axis));
    return seed !== null && sample === null ? `s${seed}` : `t${sample}`;
  });
  if (frame.take > 1) words.push(`take ${frame.take}`);
  return words.join(', ');
}

function tile(frame, axes) {
  const { task } = frame;
  if (frame.tile === null) {
    const caption = make('div', { class: 'cap' },
      make('span', { class: 'no' }, String(task.number ?? '')),
      make('bdi', { class: 'what' }),
      make('span', { class: 'meta' }, meta(frame)));
    frame.tile = make('div', { class: 'tile', role: 'gridcell', tabindex: '-1', 'data-state': task.state }, picture(frame), caption);
    frame.tile.style.setProperty('--s', Math.sqrt(task.aspect));
    frame.tile.frame = frame;
    describe(frame);
  }
  frame.tile.querySelector('.what').textContent = what(frame, axes);
  return frame.tile;
}

function describe(frame) {
  const { task, tile: element, take } = frame;
  const marked = isMarked(frame);
  const words = [`${task.number ?? ''}`, task.name, take > 1 ? `take ${take}` : '', task.state,
    frame.video && !isThere(frame) ? whereItIs(frame) : '', marked ? 'marked' : ''];
  element.setAttribute('aria-label', words.filter(Boolean).join(', '));
  element.setAttribute('aria-selected', String(marked));
  element.classList.toggle('marked', marked);
}

function sized(element, values) {
  for (const [name, value] of Object.entries(values)) element.style.setProperty(name, value);
  return element;
}

const widest = (some) => Math.max(...some.map((frame) => Math.sqrt(frame.task.aspect)));
const tallest = (some) => Math.max(...some.map((frame) => 1 / Math.sqrt(frame.task.aspect)));

function playButton(some) {
  if (!some.some(isThere)) return null;
  const button = make('button', { type: 'button', tabindex: '-1', title: 'Play the row in step (r)', 'aria-label': 'Play the row in step' }, '▶');
  button.addEventListener('click', () => playTogether(some));
  return button;
}

function matrix(section) {
  const { rows, columns } = section;
  const byRow = group(section.frames, (frame) => place(frame, rows));
  const byColumn = group(section.frames, (frame) => place(frame, columns));
  const order = inOrder(byColumn.keys());
  const most = new Map(order.map((column) => [column, Math.max(...[...group(byColumn.get(column), (frame) => place(frame, rows)).values()].map((some) => some.length))]));
  const grid = make('div', { class: 'grid', role: 'grid', 'aria-multiselectable': 'true' });
  const heads = make('div', { class: 'heads', role: 'row' }, make('span', { class: 'corner', role: 'columnheader' }, axisName(rows)));
  for (const column of order) {
    heads.append(sized(make('bdi', { class: 'head-cell', role: 'columnheader', title: label(columns, column) }, label(columns, column)), { '--n': most.get(column) }));
  }
  grid.append(heads);
  for (const row of inOrder(byRow.keys())) {
    const own = byRow.get(row);
    const line = make('div', { class: 'row', role: 'row' });
    line.append(make('div', { class: 'rowhead', role: 'rowheader' }, playButton(own) ?? make('i', {}), make('span', { dir: 'auto' }, label(rows, row))));
    const cells = group(own, (frame) => place(frame, columns));
    for (const column of order) {
      const cell = sized(make('div', { class: 'cell', role: 'presentation' }), { '--n': most.get(column) });
      for (const frame of cells.get(column) ?? []) {
        frame.row = own;
        cell.append(tile(frame, section.captions));
      }
      line.append(cell);
    }
    sized(line, { '--mh': tallest(own) });
    grid.append(line);
  }
  return sized(grid, { '--m': widest(section.frames) });
}

function wrapped(section) {
  const grid = make('div', { class: 'grid wrap', role: 'grid', 'aria-multiselectable': 'true' });
  const line = make('div', { role: 'row' });
  for (const frame of section.frames) {
    frame.row = section.frames;
    line.append(tile(frame, section.columns === null ? [] : [section.columns]));
  }
  grid.append(line);
  return grid;
}

function draw() {
  stopAll();
  shown = sections().map((section) => {
    const isMatrix = section.rows !== null && section.columns !== null;
    const title = [section.step, section.title].filter(Boolean);
    const element = make('section', { class: 'set', 'aria-label': title.join(', ') || 'Frames' });
    const heading = make('h2', {}, section.step ? make('bdi', {}, section.step) : null, section.title ? make('small', { dir: 'auto' }, section.title) : null);
    if (title.length) element.append(heading);
    const together_ = isMatrix || section.frames.length === 1 ? null : playButton(section.frames);
    if (together_ !== null) {
      heading.append(together_);
      element.prepend(heading);
    }
    element.append(make('div', { class: 'scroll' }, isMatrix ? matrix(section) : wrapped(section)));
    return { ...section, element };
  });
  sheet.replaceChildren(...shown.map(({ element }) => element), make('p', { class: 'nothing', hidden: true }, 'No frame is like that.'));
  filter();
}

const isShown = ({ task }) => (view.status === 'all' || task.state === view.status) && (!view.marked || marks.has(task.name));

// Nothing is built anew: a filter hides.
function filter() {
  let count = 0;
  for (const { element, frames: own } of shown) {
    let some = 0;
    for (const frame of own) {
      const hidden = !isShown(frame);
      if (frame.tile.hidden !== hidden) frame.tile.hidden = hidden;
      some += !hidden;
    }
    element.hidden = some === 0;
    for (const row of element.querySelectorAll('.row')) row.hidden = row.querySelector('.tile:not([hidden])') === null;
    count += some;
  }
  sheet.querySelector('.nothing').hidden = count > 0;
  return count;
}
