// WCAG 2.2, 1.4.3: text against the nearest opaque ground behind it; pictures are left out.
() => {
  const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const poor = [];
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('script, style, noscript, svg, .tag, .unseen, .skip, option')) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const behind = ground(element);
    const alpha = Number(style.opacity);
    const ink = parse(style.color).slice(0, 3).map((part, index) => part * alpha + behind[index] * (1 - alpha));
    const [high, low] = [light(ink), light(behind)].sort((one, other) => other - one);
    const ratio = (high + 0.05) / (low + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    seen.add(element.tagName);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${element.tagName}.${element.className} ${walker.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return { poor: [...new Set(poor)], kinds: seen.size };
}
