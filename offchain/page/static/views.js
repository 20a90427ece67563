// What each address shows. A view has a title, its nodes, and `update`, which is called with the board when it changes.
import { chart } from "./chart.js";
import { badge, el, facts, number, refill, say } from "./dom.js";
import { Table } from "./tables.js";

const ORDER = ["bidding", "training", "vacant", "completed", "slashed", "stalled", "cancelled"];

export const views = { tasks, disputes, people, gas, task, dispute };

const taskLink = { key: "id", title: "Task", kind: "number", href: (row) => `#/task/${row.id}`, said: (row) => row.id };

function tasks() {
  const tiles = el("dl", { class: "tiles" });
  const table = new Table("Tasks", [
    taskLink,
    { key: "status", title: "Status", kind: "badge" },
    { key: "next", title: "Next" },
    { key: "checkpoints", title: "Checkpoints", kind: "number",
      said: (row) => `${number(row.checkpoints)} of ${number(row.intervals)}, ${number(row.paid)} paid` },
    { key: "disputes", title: "Disputes", kind: "number", less: true },
    { key: "price", title: "Price", kind: "number" },
    { key: "bids", title: "Bids", kind: "number", less: true },
    { key: "score", title: "Best score", kind: "number", less: true },
    { key: "solver", title: "Solver" },
    { key: "requester", title: "Requester", less: true },
  ], { search: "Search tasks", choices: { key: "status", label: "Any status" }, order: "id" });
  return {
    title: "Tasks",
    nodes: [tiles, table.node],
    update(board) {
      refill(tiles, board.facts.states ? board.facts : {}, figures);
      table.update(board.tasks.values());
    },
  };
}

function figures(seen) {
  if (!seen.states) return [];
  const states = ORDER.filter((state) => seen.states[state]).map((state) => `${number(seen.states[state])} ${state}`);
  return [
    tile("Tasks", number(seen.tasks), states.join(", ")),
    tile("Disputes running", number(seen.disputes), ""),
    tile("Paid to solvers", seen.paid, "tokens"),
    tile("Stakes taken", seen.slashed, "tokens, from cheats"),
    tile("People", number(seen.people), "with a part in a task"),
  ];
}

function tile(name, value, said) {
  return el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, el("b", {}, value), said ? el("span", {}, said) : null));
}

function disputes() {
  const table = new Table("Disputes", [
    { key: "id", title: "Dispute", kind: "number", href: (row) => `#/dispute/${row.id}` },
    { key: "outcome", title: "Outcome" },
    { key: "task", title: "Task", kind: "number", href: (row) => `#/task/${row.task}` },
    { key: "checkpoint", title: "Checkpoint", kind: "number" },
    { key: "mover", title: "On the move" },
    { key: "next", title: "Due" },
    { key: "moves", title: "Moves", kind: "number" },
    { key: "challenger", title: "Challenger" },
    { key: "solver", title: "Solver" },
  ], { search: "Search disputes", order: "id", empty: "Nobody has disputed anything yet." });
  return { title: "Disputes", nodes: [table.node], update: (board) => table.update(board.disputes.values()) };
}

function people() {
  const table = new Table("People", [
    { key: "name", title: "Account" },
    { key: "roles", title: "Roles" },
    { key: "stake", title: "At stake", kind: "number" },
    { key: "free", title: "Free", kind: "number" },
    { key: "done", title: "Record: done", kind: "number" },
    { key: "failed", title: "Record: failed", kind: "number" },
    { key: "earned", title: "Earned", kind: "number" },
    { key: "lost", title: "Lost", kind: "number" },
    { key: "tasks", title: "Tasks won", kind: "number", less: true },
    { key: "keeping", title: "Keeping", less: true },
    { key: "disputes", title: "Disputes" },
  ], { search: "Search people", order: "earned" });
  const said = "At stake: stakes of tasks in training, bonds of running disputes, stakes of verifiers, bonds of objections. Free: in the vault. " +
    "Earned: pay of intervals, audits, keeping and standing by, rewards, bonds won. Lost: stakes and bonds taken.";
  return { title: "People", nodes: [el("p", { class: "note" }, said), table.node], update: (board) => table.update(board.people.values()) };
}

function gas() {
  const price = el("p", { class: "note" });
  const table = new Table("Gas by function", [
    { key: "id", title: "Function" },
    { key: "calls", title: "Calls", kind: "number" },
    { key: "median", title: "Median", kind: "number" },
    { key: "most", title: "Most", kind: "number" },
    { key: "all", title: "All together", kind: "number" },
  ], { order: "all", empty: "Nothing has been read yet." });
  return {
    title: "Gas",
    nodes: [price, table.node],
    update(board) {
      const all = [...board.gas.values()].reduce((sum, row) => sum + row.all, 0);
      say(price, `A unit costs ${board.facts.gas_price ?? "?"} now. ${number(all)} units were used by the transactions read so far.`);
      table.update(board.gas.values());
    },
  };
}

// --- one task, one dispute: asked for when the board changes

/** Asks for data again and again while its view is shown, never twice at a time. */
class Asked {
  constructor(path, take, fail) {
    Object.assign(this, { path, take, fail, busy: false, again: false, gone: false });
  }

  async ask() {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    try {
      const answer = await fetch(this.path);
      const body = answer.ok ? await answer.json() : await answer.text();
      if (!this.gone) (answer.ok ? this.take : this.fail)(body);
    } catch {
      // the board says that the server does not answer, and is followed again
    }
    this.busy = false;
    if (this.again && !this.gone) {
      this.again = false;
      await this.ask();
    }
  }
}

function task(id) {
  const [about, line, curves, others, failed] = ["div", "div", "div", "div", "p"].map((tag) => el(tag));
  about.className = "about";
  const bids = new Table("Bids", [
    { key: "bidder", title: "Bidder" },
    { key: "score", title: "Score", kind: "number" },
    { key: "price", title: "Price", kind: "number" },
    { key: "burden", title: "Time and risk", kind: "number" },
    { key: "promised", title: "Promise an interval" },
    { key: "attempt", title: "Attempt", kind: "number" },
    { key: "note", title: "Got" },
  ], { order: "score", down: false, empty: "Nobody has bid yet." });
  const kept = new Table("Keepers", [
    { key: "member", title: "Keeper" },
    { key: "seats", title: "Seats", kind: "number" },
    { key: "signed", title: "Checkpoints signed for", kind: "number" },
    { key: "committee", title: "Committee" },
    { key: "attempt", title: "Attempt", kind: "number" },
    { key: "note", title: "Also" },
  ], { order: "attempt", empty: "No committee has sat down." });
  const asked = new Asked(`data/task/${id}`, (seen) => {
    say(failed, "");
    refill(about, [seen.status, seen.facts], () => [facts(seen.facts)]);
    refill(line, [seen.points, seen.span, seen.skipped, seen.voided], () => [...timeline(seen), voided(seen.voided)]);
    refill(others, seen.disputes, disputed);
    bids.update(seen.bids);
    kept.update(seen.keepers);
  }, (text) => say(failed, text));
  const log = new Asked(`data/losses/${id}`, (seen) => refill(curves, seen, drawn), () => {});
  const timer = setInterval(() => log.ask(), 3000);
  log.ask();
  return {
    title: `Task ${id}`,
    under: "tasks",
    nodes: [failed, about,
      section("Checkpoints", line), section("Loss curves", curves), section("Bids and scores", bids.node), section("Keepers", kept.node), section("Disputes", others)],
    update: () => asked.ask(),
    leave: () => {
      asked.gone = log.gone = true;
      clearInterval(timer);
    },
  };
}

function section(title, ...nodes) {
  return el("section", { "aria-label": title }, el("h2", {}, title), ...nodes);
}

function disputed(rows) {
  if (!rows.length) return [el("p", { class: "note" }, "None.")];
  return [el("ul", { class: "plain" }, rows.map((row) =>
    el("li", {}, el("a", { href: `#/dispute/${row.id}` }, `Dispute ${row.id}`), ` about checkpoint ${row.checkpoint}: ${row.outcome}`)))];
}

function timeline({ points, span: [from, to, now], skipped }) {
  if (!points.length) return [el("p", { class: "note" }, "None yet: nobody trains it.")];
  const part = (time) => Math.max(0, Math.min(100, ((time - from) / Math.max(1, to - from)) * 100));
  const rows = points.map((point) => {
    const [start, at, until] = [point.start, point.at, Math.max(point.at, point.until)].map(part);
    const track = el("div", { class: "track", "aria-hidden": "true" },
      piece(`work is-${point.state}`, start, at), piece(`open is-${point.state}`, at, until), piece("now", part(now), part(now)));
    const audits = point.audits.length ? el("span", { class: "audits" }, `audits: ${point.audits.join("; ")}`) : null;
    return el("li", {},
      el("div", { class: "line" }, el("b", {}, point.id), badge(point.state), el("span", { class: "steps" }, `steps ${point.steps}`)),
      track,
      el("div", { class: "said" }, point.said, point.committed ? `, committed ${point.committed}` : "",
        point.root ? [", root ", el("code", {}, point.root)] : "", audits));
  });
  const note = "A bar is the time of training, then the window in which the checkpoint may be challenged; the line is now.";
  return [el("p", { class: "note" }, skipped ? `${note} ${number(skipped)} earlier checkpoints are left out.` : note),
    el("ol", { class: "timeline" }, rows)];
}

function voided(points) {
  if (!points.length) return null;
  const rows = points.map((point) => el("li", {}, el("b", {}, point.id), " ", badge("void"), " root ", el("code", {}, point.root)));
  return el("div", { class: "voided" }, el("h3", {}, "Void: of attempts that failed"), el("ul", { class: "plain" }, rows));
}

function piece(kind, from, to) {
  const node = el("i", { class: kind });
  node.style.left = `${from}%`;
  node.style.width = `${Math.max(0, to - from)}%`;
  return node;
}

function drawn(seen) {
  const said = { fetching: "The logs are being fetched from whoever has them.", none: "There is no curve yet.", here: "" }[seen.state];
  const words = [seen.why || said, seen.series.length && seen.missing ? `${number(seen.missing)} logs are not served.` : ""];
  const note = words.filter(Boolean).join(" ");
  return [note ? el("p", { class: "note" }, note) : null, el("div", { class: "charts" }, seen.series.map(chart))];
}

function dispute(id) {
  const [about, tree, judged, told, failed] = ["div", "div", "div", "div", "p"].map((tag) => el(tag));
  about.className = "about";
  const asked = new Asked(`data/dispute/${id}`, (seen) => {
    say(failed, "");
    refill(about, [seen.facts, seen.task], () => [
      el("p", {}, badge(seen.running ? "running" : "over"), " about checkpoint ", seen.checkpoint, " of ",
        el("a", { href: `#/task/${seen.task}` }, `task ${seen.task}`)), facts(seen.facts)]);
    refill(tree, [seen.levels, seen.verdict], () => [walk(seen.levels, seen.verdict)]);
    refill(judged, seen.verdict, computed);
    refill(told, seen.moves, moves);
  }, (text) => say(failed, text));
  return {
    title: `Dispute ${id}`,
    under: "disputes",
    nodes: [failed, about, section("What the contract computed", judged), section("The path through the tree", tree), section("Moves", told)],
    update: () => asked.ask(),
    leave: () => { asked.gone = true; },
  };
}

/** Each level holds the next one: the named part leads down, the parts beside it were not entered. */
function walk(levels, verdict) {
  const [level, ...rest] = levels;
  const leaf = verdict ? el("ol", {}, el("li", { class: "leaf" }, el("b", {}, "Judged"), ` ${verdict.operation}`)) : null;
  const below = rest.length ? walk(rest, verdict) : leaf;
  const item = el("li", {}, el("div", { class: "line" }, el("b", {}, level.title), " ", level.said), bar(level), below);
  return el("ol", { class: "walk" }, item);
}

function bar(level) {
  const [before, width, after] = level.parts.length ? level.parts : [0, 0, 0];
  if (!width || before + width + after < 2) return null;
  const part = (kind, size, said) => {
    if (!size) return null;
    const node = el("span", { class: kind, title: said });
    node.style.flexGrow = size;
    return node;
  };
  const said = `${number(before)} before it conceded, ${number(after)} after it not looked at`;
  return el("div", { class: "split" },
    el("div", { class: "parts", "aria-hidden": "true" }, part("conceded", before, "conceded"), part("named", width, "named"), part("after", after, "not looked at")),
    el("span", { class: "said" }, said));
}

function computed(verdict) {
  if (!verdict) return [el("p", { class: "note" }, "Nothing yet: the contract computes once the walk has come to one operation.")];
  const same = verdict.claimed === verdict.computed;
  return [el("p", {}, verdict.operation), el("dl", { class: "verdict" },
    el("div", {}, el("dt", {}, "Claimed"), el("dd", {}, verdict.claimed)),
    el("div", { class: same ? "right" : "wrong" }, el("dt", {}, "Computed by the contract"), el("dd", {}, verdict.computed)))];
}

function moves(rows) {
  return [el("ol", { class: "moves" }, rows.map((row) =>
    el("li", {}, el("b", { class: `by-${row.who}` }, row.who), ` ${row.said}`, row.gas ? el("span", { class: "said" }, `${row.gas} gas`) : null)))];
}
