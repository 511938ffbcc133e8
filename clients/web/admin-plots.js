/**
 * Plots and numbers of the live page: small SVGs drawn by hand, and what is said of bytes, times and rates.
 *
 * Knows nothing of the server. Styles are the page's; only shapes are set here.
 */

const SVG = 'http://www.w3.org/2000/svg';
/** The width and height that shapes are drawn in; the page stretches them. */
const WIDTH = 300;
const HEIGHT = 60;

function shape(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const drawing = (label) => {
  const svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
  svg.setAttribute('aria-label', label);
  return svg;
};

// -- a value over time -------------------------------------------------------------------------------------------------

export class Plot {
  #name;
  #show;
  #span;
  #points = [];
  #figure = document.createElement('figure');
  #value = document.createElement('output');
  #detail = document.createElement('p');
  #top = document.createElement('p');
  #area = shape('path', { class: 'area' });
  #line = shape('path', { class: 'line' });
  #mark = shape('line', { class: 'mark', y1: 0, y2: HEIGHT, visibility: 'hidden' });
  #svg;
  /** Where the pointer is, from 0 on the left to 1. */
  #at = null;

  /**
   * @param span seconds that are shown
   * @param show makes words of a value
   */
  constructor(parent, name, span, show) {
    this.#name = name;
    this.#span = span;
    this.#show = show;
    this.#svg = drawing(name);
    this.#svg.append(this.#area, this.#line, this.#mark);
    const caption = document.createElement('figcaption');
    caption.textContent = name;
    this.#detail.className = 'more hint';
    this.#top.className = 'most hint';
    this.#figure.className = 'plot';
    this.#figure.append(caption, this.#value, this.#detail, this.#top, this.#svg);
    this.#value.textContent = '–';
    this.#value.setAttribute('aria-live', 'off');
    parent.append(this.#figure);
    const point = (event) => {
      const box = this.#svg.getBoundingClientRect();
      this.#at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      this.draw();
    };
    this.#svg.addEventListener('pointermove', point);
    this.#svg.addEventListener('pointerdown', point);
    this.#svg.addEventListener('pointerleave', () => {
      this.#at = null;
      this.draw();
    });
  }

  /** A value at `time`, in seconds; `null` where there is none, which leaves a gap. `detail`: words beside it. */
  add(time, value, detail = '') {
    this.#points.push({ time, value, detail });
    const first = time - this.#span;
    while (this.#points[0].time < first) this.#points.shift();
    this.draw();
  }

  draw() {
    const end = this.#points.at(-1)?.time ?? 0;
    const x = (time) => WIDTH * (1 - (end - time) / this.#span);
    const known = this.#points.filter(({ value }) => value !== null);
    if (known.length === 0) return;
    const most = Math.max(...known.map(({ value }) => value));
    // A line of nothing lies on the ground, and a steady one has air above it.
    const y = (value) => HEIGHT - (most > 0 ? (value / most) * (HEIGHT - 6) : 0);

    let line = '';
    let area = '';
    let run = [];
    const close = () => {
      if (run.length === 0) return;
      const points = run.map(({ time, value }) => `${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join('L');
      line += `M${points}`;
      area += `M${x(run[0].time).toFixed(1)} ${HEIGHT}L${points}L${x(run.at(-1).time).toFixed(1)} ${HEIGHT}Z`;
      run = [];
    };
    for (const point of this.#points) {
      if (point.value === null) close();
      else run.push(point);
    }
    close();
    this.#line.setAttribute('d', line);
    this.#area.setAttribute('d', area);

    const shown = this.#at === null ? known.at(-1) : nearest(known, end - (1 - this.#at) * this.#span);
    const ago = Math.round(end - shown.time);
    this.#value.textContent = this.#show(shown.value);
    this.#detail.textContent = this.#at === null ? shown.detail : ago === 0 ? 'now' : `${ago} s ago`;
    this.#top.textContent = most > 0 ? `max ${this.#show(most)}` : '';
    this.#mark.setAttribute('visibility', this.#at === null ? 'hidden' : 'visible');
    this.#mark.setAttribute('x1', x(shown.time).toFixed(1));
    this.#mark.setAttribute('x2', x(shown.time).toFixed(1));
    this.#svg.setAttribute('aria-label', `${this.#name}: now ${this.#show(known.at(-1).value)}, at most ${this.#show(most)}`);
  }
}

function nearest(points, time) {
  return points.reduce((best, point) => (Math.abs(point.time - time) < Math.abs(best.time - time) ? point : best));
}

// -- a distribution ----------------------------------------------------------------------------------------------------

/** Bars side by side; `counts` of the `labels`, those from `slow` on in another colour. */
export class Bars {
  #bars;

  constructor(parent, labels, slow) {
    this.#bars = labels.map((label, index) => {
      const bar = document.createElement('div');
      bar.className = 'bar';
      if (index >= slow) bar.dataset.slow = '';
      const svg = drawing(label);
      const rect = shape('rect', { x: 0, width: WIDTH, y: HEIGHT, height: 0 });
      svg.append(rect);
      const words = document.createElement('span');
      words.className = 'bound';
      words.textContent = label;
      words.setAttribute('aria-hidden', 'true');
      bar.append(svg, words);
      return { bar, svg, rect, label };
    });
    parent.replaceChildren(...this.#bars.map(({ bar }) => bar));
  }

  show(counts) {
    const most = Math.max(...counts, 1);
    for (const [index, { svg, rect, label }] of this.#bars.entries()) {
      const count = counts[index];
      // By the root, so that a rare one is seen beside the many; a single one is at least a line.
      const height = count > 0 ? Math.max(2, HEIGHT * Math.sqrt(count / most)) : 0;
      rect.setAttribute('y', HEIGHT - height);
      rect.setAttribute('height', height);
      svg.setAttribute('aria-label', `${label}: ${count}`);
      rect.replaceChildren(shape('title'));
      rect.firstChild.textContent = `${label}: ${number(count)}`;
    }
  }
}

// -- words -------------------------------------------------------------------------------------------------------------

const whole = new Intl.NumberFormat('en');
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export const number = (value) => whole.format(value);

/** A number that may be large or a fraction, in a few characters. */
export const brief = (value) => (value >= 10_000 ? short.format(value) : whole.format(Math.round(value * 10) / 10));

export function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A short time, in seconds. */
export function shortTime(seconds) {
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  return seconds < 1 ? `${Number((seconds * 1e3).toPrecision(3))} ms` : `${Number(seconds.toPrecision(3))} s`;
}

/** How long something lasts, in its two largest units at most. */
export function duration(seconds) {
  const left = Math.max(0, Math.floor(seconds));
  if (left < 60) return `${left} s`;
  if (left < 3600) return `${Math.floor(left / 60)} min`;
  if (left < 86_400) return `${Math.floor(left / 3600)} h ${Math.floor((left % 3600) / 60)} min`;
  return `${Math.floor(left / 86_400)} d ${Math.floor((left % 86_400) / 3600)} h`;
}
