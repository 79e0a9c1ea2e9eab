// Which axis makes the rows, which the columns; the others make sections.
const AUTO = 'auto';
const TAKE = 'take';
const view = { rows: AUTO, columns: AUTO, status: 'all', marked: false };

const place = (frame, axis) => frame.task.at[axis] ?? -1;
const label = (axis, value) => (value < 0 ? 'none' : data.axes[axis].values[value]);

function axisName(axis) {
  const { name, values } = data.axes[axis];
  if (name !== TAKE) return name;
  const kinds = new Set(values.map((value) => value.split(' ')[0]));
  return kinds.size === 1 ? [...kinds][0] : TAKE;
}

function varying(some) {
  return data.axes.map((_, axis) => axis).filter((axis) => {
    const first = place(some[0], axis);
    return some.some((frame) => place(frame, axis) !== first);
  });
}

// Takes side by side, and each step as far as its own axes go. Where services are compared they are the
// columns, and a cell has all its takes.
function choose(axes) {
  const found = (name) => axes.find((axis) => data.axes[axis].name === name) ?? -1;
  const take = found(TAKE);
  const model = data.compares ? found('model') : -1;
  const wanted = (name, taken) => {
    const chosen = Number(view[name]);
    return view[name] !== AUTO && axes.includes(chosen) && chosen !== taken ? chosen : null;
  };
  const rows = wanted('rows', null);
  let columns = wanted('columns', rows);
  const free = axes.filter((axis) => axis !== rows);
  if (columns === null && free.length) {
    columns = [model, take].find((axis) => free.includes(axis)) ?? free[free.length - 1];
  }
  const within = columns === model && rows !== take && axes.length > 2 && axes.includes(take) ? take : null;
  const rest = axes.filter((axis) => axis !== rows && axis !== columns && axis !== within);
  const chosenRows = rows ?? rest.pop() ?? null;
  return { rows: chosenRows, columns, others: rest, captions: within === null ? [columns] : [within] };
}

function group(some, key) {
  const found = new Map();
  for (const one of some) {
    const name = key(one);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(one);
  }
  return found;
}

const inOrder = (values) => [...values].sort((one, other) => one - other);

function sections() {
  const found = [];
  for (const [step, own] of group(frames, (frame) => frame.task.step)) {
    const axes = choose(varying(own));
    const parts = group(own, (frame) => axes.others.map((axis) => place(frame, axis)).join());
    for (const part of parts.values()) {
      const title = axes.others.map((axis) => `${axisName(axis)} ${label(axis, place(part[0], axis))}`);
      found.push({ step, title: title.join(', '), frames: part, ...axes });
    }
  }
  return found;
}
