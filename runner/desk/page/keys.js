// The frames as lines on the screen, whatever the arrangement.
function lines() {
  const found = [];
  for (const { element } of shown) {
    if (element.hidden) continue;
    const rows = element.querySelectorAll('.row');
    if (rows.length) {
      for (const row of rows) if (!row.hidden) found.push([...row.querySelectorAll('.tile:not([hidden])')]);
      continue;
    }
    let line = [];
    let top = null;
    for (const one of element.querySelectorAll('.tile:not([hidden])')) {
      if (top !== null && one.offsetTop > top + 4) {
        found.push(line);
        line = [];
      }
      top = one.offsetTop;
      line.push(one);
    }
    if (line.length) found.push(line);
  }
  return found;
}

const middle = (element) => {
  const { left, width } = element.getBoundingClientRect();
  return left + width / 2;
};

function neighbour(key) {
  const all = lines();
  if (all.length === 0) return null;
  const at = chosen === null ? -1 : all.findIndex((line) => line.includes(chosen.tile));
  if (at < 0 || key === 'Home') return all[0][0];
  if (key === 'End') return all[all.length - 1].slice(-1)[0];
  const flat = all.flat();
  if (key === 'ArrowLeft' || key === 'ArrowRight') {
    return flat[flat.indexOf(chosen.tile) + (key === 'ArrowRight' ? 1 : -1)] ?? null;
  }
  const line = all[at + (key === 'ArrowDown' ? 1 : -1)];
  if (!line) return null;
  // rows of one grid by column, others by what lies nearest
  if (line.length === all[at].length) return line[all[at].indexOf(chosen.tile)];
  const here = middle(chosen.tile);
  return line.reduce((best, one) => (Math.abs(middle(one) - here) < Math.abs(middle(best) - here) ? one : best));
}

const KEYS = {
  ' ': () => chosen && toggle(chosen),
  m: () => chosen && toggleMark(chosen),
  r: () => chosen && playTogether(chosen.row),
  Enter: () => chosen && openDetails(chosen),
  c: showMarks,
  s: () => setSound(!withSound),
  t: toTimeline,
  '?': () => byId('help').showModal(),
  Escape: () => { stopAll(); closeDetails(); },
};

function toTimeline() {
  byId('timeline').scrollIntoView({ behavior: calm.matches ? 'auto' : 'smooth' });
}

document.addEventListener('keydown', (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (target.closest('input, select, textarea')) return;
  // a button or a link keeps its own keys
  if ((key === ' ' || key === 'Enter') && target.closest('button, a')) return;
  if (/^(Arrow|Home|End)/.test(key)) {
    if (target !== document.body && !target.closest('main')) return;
    const next = neighbour(key);
    if (next !== null) {
      choose_(next.frame);
      next.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    }
    event.preventDefault();
  } else if (KEYS[key]) {
    event.preventDefault();
    KEYS[key]();
  }
});
