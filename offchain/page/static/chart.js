// A curve as a drawing: one metric, its steps along the bottom. The same numbers stand in its description.
import { el, number, svg } from "./dom.js";

const HEIGHT = 170;
const EDGE = { left: 52, right: 12, top: 12, bottom: 26 };

/** `series`: {name, points: [[step, value or null], …]} */
export function chart(series) {
  const known = series.points.filter(([, value]) => value !== null);
  const node = el("figure", { class: "chart" });
  const title = el("figcaption", {}, series.name);
  if (!known.length) return el("figure", { class: "chart" }, title, el("p", {}, "no figures"));
  const ends = [known[0], known[known.length - 1]];
  const values = known.map(([, value]) => value);
  const least = Math.min(...values);
  const described = `${series.name}: ${short(ends[0][1])} at step ${number(ends[0][0])}, ${short(ends[1][1])} at step ` +
    `${number(ends[1][0])}; the least is ${short(least)}`;
  const draw = () => {
    const width = Math.max(240, node.clientWidth || 560);
    node.replaceChildren(title, picture(series, values, width, described), el("p", { class: "said" }, described));
  };
  let before = 0;
  new ResizeObserver(() => {
    if (Math.abs(node.clientWidth - before) < 2) return;
    before = node.clientWidth;
    draw();
  }).observe(node);
  return node;
}

function picture(series, values, width, described) {
  const [low, high] = spread(values);
  const steps = series.points.map(([step]) => step);
  const [first, last] = [steps[0], Math.max(steps[steps.length - 1], steps[0] + 1)];
  const x = (step) => EDGE.left + ((step - first) / (last - first)) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const marks = [0, 0.5, 1].map((part) => low + part * (high - low));
  const grid = marks.flatMap((value) => [
    svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(value), y2: y(value), class: "grid" }),
    svg("text", { x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)),
  ]);
  const along = [first, Math.round((first + last) / 2), last].map((step, n) =>
    svg("text", { x: x(step), y: HEIGHT - 8, "text-anchor": ["start", "middle", "end"][n] }, number(step)));
  return svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": described },
    grid, along, svg("path", { d: path(series.points, x, y), class: "line" }));
}

/** A gap where a value is not known. */
function path(points, x, y) {
  let pen = "M";
  const parts = [];
  for (const [step, value] of points) {
    if (value === null) pen = "M";
    else {
      parts.push(`${pen}${x(step).toFixed(1)} ${y(value).toFixed(1)}`);
      pen = "L";
    }
  }
  return parts.join("");
}

function spread(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low === high ? [low - 1, high + 1] : [low, high];
}

function short(value) {
  return Number(value.toPrecision(4)).toString();
}
