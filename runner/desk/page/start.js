function options(select, name) {
  const axes = varying(frames);
  select.append(make('option', { value: AUTO }, 'automatic'), ...axes.map((axis) => make('option', { value: String(axis) }, axisName(axis))));
  select.disabled = axes.length === 0;
  if (!axes.includes(Number(view[name]))) view[name] = AUTO;
  select.value = view[name];
  select.addEventListener('change', () => {
    view[name] = select.value;
    // one axis cannot be both
    const other = name === 'rows' ? 'columns' : 'rows';
    if (view[other] === select.value && select.value !== AUTO) {
      view[other] = AUTO;
      byId(other).value = AUTO;
    }
    keep();
    draw();
    if (chosen !== null) choose_(chosen, { focus: false });
  });
}

function statuses() {
  const box = byId('statuses');
  const counts = new Map(data.words.map((word) => [word, data.tasks.filter((task) => task.state === word).length]));
  for (const [word, count] of [['all', data.tasks.length], ...counts]) {
    const button = make('button', { type: 'button', 'aria-pressed': String(word === view.status) }, word, ' ', make('span', {}, String(count)));
    button.addEventListener('click', () => {
      view.status = word;
      for (const other of box.children) other.setAttribute('aria-pressed', String(other === button));
      say(plural(filter(), 'frame'));
    });
    box.append(button);
  }
}

// The columns of the widest section fill the page, within what is still a picture.
function size() {
  const slider = byId('size');
  const set = () => document.documentElement.style.setProperty('--base', `${slider.value}px`);
  const [least, gap, around] = innerWidth > 640 ? [100, 10, 186] : [92, 8, 28];
  const room = sheet.clientWidth - around;
  const fits = shown.map(({ frames: own, columns, rows }) => {
    if (rows === null || columns === null) return 150;
    const count = Math.max(...[...group(own, (frame) => place(frame, rows)).values()].map((row) => row.length));
    const breadth = widest(own);
    const all = (room - gap * (count - 1)) / count / breadth;
    if (all >= least) return all;
    // a part of the next picture shows that the row goes on
    const whole = Math.max(1, Math.floor((room - 0.4 * least * breadth) / (least * breadth + gap)));
    return (room - gap * whole) / (whole + 0.4) / breadth;
  });
  slider.value = Math.max(least, Math.min(210, ...fits));
  set();
  slider.addEventListener('input', set);
}

sheet.addEventListener('click', (event) => {
  const element = event.target.closest('.tile');
  if (element === null) return;
  const { frame } = element;
  choose_(frame);
  if (event.target.closest('.cap') || !isThere(frame)) openDetails(frame);
  else toggle(frame);
});
sheet.addEventListener('dblclick', (event) => {
  const element = event.target.closest('.tile');
  if (element !== null) openDetails(element.frame);
});
byId('sound').addEventListener('click', () => setSound(!withSound));
byId('help-button').addEventListener('click', () => byId('help').showModal());
byId('to-timeline').addEventListener('click', toTimeline);
byId('tray-copy').addEventListener('click', showMarks);
byId('tray-clear').addEventListener('click', clearMarks);
byId('tray-show').addEventListener('click', () => {
  view.marked = !view.marked;
  filter();
  tray();
});

recall();
options(byId('rows'), 'rows');
options(byId('columns'), 'columns');
statuses();
hover(sheet);
draw();
size();
tray();
if (frames.length) choose_(frames[0], { focus: false });
new ResizeObserver(([{ target }]) => document.documentElement.style.setProperty('--bar', `${target.offsetHeight}px`)).observe(document.querySelector('.bar'));
let drawnWidth = 0;
new IntersectionObserver(([{ isIntersecting }], observer) => {
  if (!isIntersecting) return;
  observer.disconnect();
  new ResizeObserver(() => {
    if (plot.clientWidth !== drawnWidth) {
      drawnWidth = plot.clientWidth;
      drawTimeline();
    }
  }).observe(plot);
}, { rootMargin: '400px' }).observe(byId('timeline'));
