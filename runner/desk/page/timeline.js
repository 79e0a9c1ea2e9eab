const SVG = 'http://www.w3.org/2000/svg';
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
const GAP = 16;
const NAMED_LANE = 13;
const MOST_HEIGHT = 640;
const plot = byId('plot');
let lanes = new Map();

function shape(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Between two sessions nobody looked: hours of that would press the rest into nothing.
function scale(left, right) {
  const total = data.sessions.reduce((sum, [begin, end]) => sum + end - begin, 0) || 1;
  const perUnit = (right - left - GAP * (data.sessions.length - 1)) / total;
  const pieces = [];
  let x = left;
  for (const [begin, end] of data.sessions) {
    pieces.push({ begin, end, x });
    x += (end - begin) * perUnit + GAP;
  }
  const at = (time) => {
    let piece = pieces[0];
    for (const next of pieces) if (next.begin <= time) piece = next;
    return piece.x + Math.max(0, Math.min(time, piece.end) - piece.begin) * perUnit;
  };
  return { at, pieces, perUnit, total };
}

function ticks(svg, { at, pieces, total, perUnit }, top, bottom) {
  const step = (STEPS.find((one) => one * 1000 * perUnit >= 80) ?? STEPS[STEPS.length - 1]) * 1000;
  for (const { begin, end, x } of pieces) {
    if (x > pieces[0].x) svg.append(shape('rect', { class: 'gap', x: x - GAP + 3, y: top, width: GAP - 6, height: bottom - top }));
    let last = -Infinity;
    for (let time = Math.ceil(begin / step) * step; time <= end; time += step) {
      if (at(time) - last < 60) continue;
      last = at(time);
      svg.append(shape('line', { class: 'tick', x1: last, x2: last, y1: top, y2: bottom }),
        shape('text', { x: last + 3, y: top - 5 }, time === 0 ? '0' : short(time / 1000)));
    }
  }
  return total;
}

function short(value) {
  if (value < 60) return `${value} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min${value % 60 ? ` ${Math.round(value % 60)}` : ''}`;
  return `${Math.floor(value / 3600)} h${value % 3600 ? ` ${Math.round((value % 3600) / 60)}` : ''}`;
}

function drawTimeline() {
  const tasks = data.tasks.filter((task) => task.spans.length);
  if (tasks.length === 0) {
    plot.replaceChildren(make('p', { class: 'quiet' }, 'Nothing was sent in this run.'));
    return;
  }
  const width = plot.clientWidth;
  const lane = Math.min(18, MOST_HEIGHT / tasks.length);
  const left = lane < NAMED_LANE ? 1 : Math.min(190, width * 0.3);
  const height = 22 + lane * tasks.length;
  const total = data.sessions.reduce((sum, [begin, end]) => sum + end - begin, 0);
  const svg = shape('svg', { viewBox: `0 0 ${width} ${height}`, height, role: 'img', 'aria-label': `${plural(tasks.length, 'task')} over ${seconds(total / 1000)}: when each was submitted, queued, running and downloading. Each frame tells its own times.` });
  const time = scale(left, width - 6);
  ticks(svg, time, 18, height);
  lanes = new Map();
  tasks.forEach((task, index) => {
    const y = 22 + index * lane;
    const line = shape('g', { class: 'lane' }, shape('rect', { class: 'back', x: 0, y, width, height: lane }));
    line.append(shape('title', {}, `${task.name}: ${timings(task)}`));
    if (lane >= NAMED_LANE) line.append(shape('text', { x: 0, y: y + lane * 0.72 }, clipped(task.name, left)));
    for (const [phase, begin, end] of task.spans) {
      const x = time.at(begin);
      line.append(shape('rect', { class: data.phases[phase], x, y: y + lane * 0.14, width: Math.max(1, time.at(end) - x), height: lane * 0.72 }));
    }
    line.task = task;
    lanes.set(task, line);
    svg.append(line);
  });
  const used = new Set(tasks.flatMap((task) => task.spans.map(([phase]) => phase)));
  const legend = make('ul', { class: 'legend' });
  data.phases.forEach((phase, index) => { if (used.has(index)) legend.append(make('li', {}, make('i', { class: phase }), phase)); });
  legend.append(make('li', {}, 'time since the start; a status is seen when it is polled'));
  plot.replaceChildren(legend, svg);
  if (chosen !== null) markLane(chosen);
}

const clipped = (text, width) => {
  const most = Math.floor((width - 8) / 6.1);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
};

function markLane(frame) {
  for (const [task, line] of lanes) line.classList.toggle('chosen', task === frame.task);
}

plot.addEventListener('click', (event) => {
  const line = event.target.closest('.lane');
  const frame = line && frames.find((one) => one.task === line.task);
  if (frame && !frame.tile.hidden) {
    choose_(frame);
    frame.tile.scrollIntoView({ block: 'center' });
  }
});
