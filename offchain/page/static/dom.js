// Elements from data. Text is only ever set as text: what strangers wrote is never read as markup.

/** An element. `attributes`: of HTML, `class` among them; a function is a listener; null leaves one out. */
export function el(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** The same for a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined).map(asNode));
  return node;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** Sets the text of a node only if it differs, so that nothing is laid out in vain. */
export function say(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Fills a node anew only if what it shows has changed. */
export function refill(node, data, make) {
  const key = JSON.stringify(data);
  if (node.dataset.shown === key) return;
  node.dataset.shown = key;
  node.replaceChildren(...[make(data)].flat().filter((child) => child !== null));
}

export function badge(state) {
  return el("span", { class: `badge is-${String(state).replace(/[^a-z]/g, "")}` }, state);
}

/** A list of names and values. */
export function facts(pairs) {
  return el("dl", { class: "facts" }, pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

export function number(value) {
  return Number(value).toLocaleString("en-US");
}
