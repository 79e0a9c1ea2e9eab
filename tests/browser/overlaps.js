// Tiles and headings that lie on each other.
() => {
  const boxes = [...document.querySelectorAll('.tile, .rowhead, .head-cell')].filter((one) => one.checkVisibility())
    .map((one) => ({ name: one.textContent, box: one.getBoundingClientRect() })).filter(({ box }) => box.width > 0);
  const found = [];
  for (let i = 0; i < boxes.length; i += 1) for (let j = i + 1; j < boxes.length; j += 1) {
    const [a, b] = [boxes[i].box, boxes[j].box];
    if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1) {
      found.push(`${boxes[i].name} / ${boxes[j].name}`);
    }
  }
  return found;
}
