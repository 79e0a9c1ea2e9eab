const marks = new Set();
const KEPT = `callsheet ${data.run}`;
const isMarked = (frame) => marks.has(frame.task.name);

// A browser may refuse to keep anything for a page from a file: then it lasts as long as the page.
// What the job file picks is marked to begin with.
function recall() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(KEPT)) ?? {};
  } catch { /* nothing was kept */ }
  const known = new Set(data.tasks.map((task) => task.name));
  const picked = data.tasks.filter((task) => task.picked).map((task) => task.name);
  for (const name of kept.marks ?? picked) if (known.has(name)) marks.add(name);
  for (const side of ['rows', 'columns']) {
    const axis = data.axes.findIndex(({ name }) => name === kept[side]);
    if (axis >= 0) view[side] = String(axis);
  }
}

function keep() {
  const axis = (side) => data.axes[view[side]]?.name;
  try {
    localStorage.setItem(KEPT, JSON.stringify({ marks: [...marks], rows: axis('rows'), columns: axis('columns') }));
  } catch { /* not kept */ }
}

function toggleMark(frame) {
  const { name } = frame.task;
  if (!marks.delete(name)) marks.add(name);
  keep();
  for (const other of frames) if (other.task === frame.task) describe(other);
  if (aside.childElementCount && chosen && chosen.task === frame.task) {
    for (const button of aside.querySelectorAll('.actions [aria-pressed]')) button.setAttribute('aria-pressed', String(isMarked(frame)));
  }
  tray();
  if (view.marked) filter();
  say(`${name} ${isMarked(frame) ? 'marked' : 'unmarked'}, ${marks.size} marked`);
}

function tray() {
  byId('tray').hidden = marks.size === 0;
  byId('tray-count').textContent = `${marks.size} marked`;
  byId('tray-copy').textContent = data.tasks.some((task) => task.pick) ? 'Copy pick lines' : 'Copy file names';
  byId('tray-show').setAttribute('aria-pressed', String(view.marked));
  if (marks.size === 0 && view.marked) {
    view.marked = false;
    filter();
  }
}

function clearMarks() {
  marks.clear();
  keep();
  for (const frame of frames) describe(frame);
  view.marked = false;
  filter();
  tray();
  if (chosen !== null && aside.childElementCount) showDetails(chosen);
}

// The lines of `pick:` for one step, as the job file takes them.
function pickText(step, tasks) {
  return `    pick:  # steps.${step}\n${tasks.map((task) => `      ${task.pick}`).join('\n')}\n`;
}

function copyable(title, text, note) {
  const area = make('textarea', { readonly: true, spellcheck: 'false', rows: String(Math.min(12, text.split('\n').length)), 'aria-label': title });
  area.value = text;
  const button = make('button', { type: 'button', class: 'primary' }, 'Copy');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
      say('copied');
    } catch {
      // no clipboard for this page: the text is selected, and Ctrl+C is a keypress away
      area.focus();
      area.select();
      button.textContent = 'Selected: press Ctrl+C';
      say('the text is selected');
    }
  });
  return [make('h3', {}, title), note ? make('p', { class: 'quiet' }, note) : null, area, button].filter(Boolean);
}

function showMarks() {
  const marked = data.tasks.filter((task) => marks.has(task.name));
  if (marked.length === 0) {
    say('nothing is marked');
    return;
  }
  const parts = [];
  for (const [step, tasks] of group(marked.filter((task) => task.pick), (task) => task.step)) {
    parts.push(...copyable(`Pick lines of step ${step}`, pickText(step, tasks), `They replace \`pick:\` of that step in ${data.job}, where takes that were picked before stay; then: ${data.again}`));
  }
  const paths = marked.flatMap((task) => task.videos.map((video) => video.path));
  if (parts.length === 0) parts.push(make('p', { class: 'quiet' }, 'No further step builds on these takes, so there is nothing to pick for.'));
  if (paths.length) parts.push(...copyable('Their files', `${paths.join('\n')}\n`));
  byId('marks-body').replaceChildren(...parts);
  byId('marks').showModal();
}
