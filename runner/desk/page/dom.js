const data = JSON.parse(document.getElementById('data').textContent);
const missing = new Set(data.missing);
const inStore = (frame) => (frame.video && data.stored[frame.video.path]) || '';
const whereItIs = (frame) => (inStore(frame) ? 'in the store' : 'file is not here');
const byId = (id) => document.getElementById(id);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const wide = matchMedia('(min-width: 1180px)');

// Text and attributes only: what a service or a person wrote never becomes markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? '' : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// A line breaks between its words, never inside of `--option`.
function command(line) {
  const words = line.split(' ').flatMap((word) => [' ', make('span', {}, word)]);
  return make('code', { class: 'command' }, ...words.slice(1));
}

function say(text) {
  byId('said').textContent = text;
}

function seconds(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function usd(text) {
  return `USD ${text}`;
}

function bytes(count) {
  return count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

const plural = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;

// A frame is one video of a task, or the place where it will be.
const frames = data.tasks.flatMap((task) => (task.videos.length ? task.videos : [null]).map((video, index) => (
  { task, video, take: index + 1, tile: null, row: null, player: null, pinned: false }
)));
const isThere = (frame) => frame.video !== null && frame.video.href !== '' && !missing.has(frame.video.path);
