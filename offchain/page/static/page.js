// Follows the board, and shows the view that the address names.
import { el, say } from "./dom.js";
import { views } from "./views.js";

const main = document.getElementById("main");
const board = { epoch: "", version: -1, facts: {}, tasks: new Map(), disputes: new Map(), people: new Map(), gas: new Map() };
const TABLES = ["tasks", "disputes", "people", "gas"];
let view = null;

function route() {
  const [, name = "tasks", id = ""] = (location.hash || "#/tasks").match(/^#\/([a-z]*)(?:\/(\d{1,18}))?$/) ?? [];
  return { name: views[name] ? name : "tasks", id };
}

function show(moved) {
  const { name, id } = route();
  view?.leave?.();
  view = views[name](id);
  const heading = el("h1", { tabindex: "-1" }, view.title);
  main.replaceChildren(heading, ...view.nodes);
  document.title = `${view.title} – offchain`;
  for (const link of document.querySelectorAll("header nav a")) {
    const here = link.getAttribute("href") === `#/${view.under ?? name}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (board.version >= 0) view.update(board);
  if (moved) {
    heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

function take(news) {
  if (news.whole) TABLES.forEach((name) => board[name].clear());
  Object.assign(board, { epoch: news.epoch, version: news.version, facts: news.facts });
  for (const name of TABLES) for (const row of news[name] ?? []) board[name].set(row.id, row);
  const { block, chain, gas_price: price, now, trouble } = news.facts;
  if (block !== undefined) say(document.getElementById("chain"), `chain ${chain}, block ${block}, ${now}, ${price}`);
  trouble_is(trouble);
  view?.update(board);
}

function trouble_is(text) {
  const node = document.getElementById("trouble");
  say(node, text || "");
  node.hidden = !text;
}

async function follow() {
  for (;;) {
    try {
      const answer = await fetch(`data/board?epoch=${board.epoch}&version=${board.version}`);
      if (!answer.ok) throw new Error(String(answer.status));
      const before = board.version;
      take(await answer.json());
      if (board.version === before) await pause(500); // it did not wait for us
    } catch (error) {
      trouble_is("The server of this page does not answer. It is asked again.");
      await pause(2000);
    }
  }
}

function pause(milliseconds) {
  return new Promise((done) => setTimeout(done, milliseconds));
}

// --- theme

const THEMES = ["system", "light", "dark"];

function paint(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  say(document.getElementById("theme"), `Theme: ${theme}`);
}

function remembered() {
  try {
    return THEMES.includes(localStorage.theme) ? localStorage.theme : "system";
  } catch {
    return "system";
  }
}

document.getElementById("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  try {
    localStorage.theme = next;
  } catch {
    // it is not kept
  }
  paint(next);
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => show(true));
paint(remembered());
show(false);
follow();
