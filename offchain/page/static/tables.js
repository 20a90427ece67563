// A table that is searched, sorted and kept up to date row by row: focus and scroll stay where they are.
import { badge, el, number, say } from "./dom.js";

const STEP = 200; // rows that are shown at first, and with each "more"

/**
 * columns: {key, title, kind: "text" | "number" | "badge" | "link", href: row => "#/…", less: hidden on narrow screens}
 * options: {search: label or null, choices: {key, label}, empty: text without rows, order: first column to sort by}
 */
export class Table {
  constructor(caption, columns, options = {}) {
    this.columns = columns;
    this.options = options;
    this.most = STEP;
    this.rows = [];
    this.shown = new Map(); // id -> its row of the table, and what it shows
    this.sort = { key: options.order ?? columns[0].key, down: options.down ?? true };
    this.body = el("tbody", { role: "rowgroup" });
    this.heads = columns.map((column) => this.head(column));
    this.count = el("p", { class: "count", role: "status" });
    this.more = el("button", { type: "button", class: "more", click: () => this.grow() }, "Show more");
    const head = el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, this.heads));
    const table = el("table", { role: "table" }, el("caption", {}, caption), head, this.body);
    this.node = el("div", { class: "tabled" }, this.tools(), el("div", { class: "wide" }, table), this.count, this.more);
  }

  head(column) {
    const button = el("button", { type: "button", click: () => this.order(column.key) }, column.title);
    return el("th", { scope: "col", role: "columnheader", class: classOf(column) }, button);
  }

  tools() {
    const { search, choices } = this.options;
    if (!search) return null;
    this.field = el("input", { type: "search", placeholder: search, "aria-label": search, input: () => this.draw() });
    const parts = [this.field];
    if (choices) {
      this.choice = el("select", { "aria-label": choices.label, change: () => this.draw() }, el("option", { value: "" }, choices.label));
      parts.push(this.choice);
    }
    return el("div", { class: "tools", role: "search" }, parts);
  }

  order(key) {
    this.sort = { key, down: this.sort.key === key ? !this.sort.down : true };
    this.draw();
  }

  grow() {
    this.most += STEP;
    this.draw();
  }

  update(rows) {
    this.rows = [...rows];
    this.offer();
    this.draw();
  }

  /** The choices that there are. */
  offer() {
    if (!this.choice) return;
    const values = [...new Set(this.rows.map((row) => row[this.options.choices.key]))].sort();
    const known = [...this.choice.options].slice(1).map((option) => option.value);
    if (values.join() === known.join()) return;
    const chosen = this.choice.value;
    this.choice.replaceChildren(this.choice.options[0], ...values.map((value) => el("option", { value }, value)));
    this.choice.value = values.includes(chosen) ? chosen : "";
  }

  found() {
    const asked = (this.field?.value ?? "").trim().toLowerCase();
    const chosen = this.choice?.value ?? "";
    return this.rows.filter((row) => {
      if (chosen && row[this.options.choices.key] !== chosen) return false;
      return !asked || this.columns.some((column) => String(row[column.key]).toLowerCase().includes(asked)) ||
        String(row.id).toLowerCase() === asked;
    });
  }

  draw() {
    const found = this.found();
    const { key, down } = this.sort;
    const kind = this.columns.find((column) => column.key === key)?.kind ?? "text";
    found.sort((a, b) => compare(a, b, key, kind) * (down ? -1 : 1));
    const rows = found.slice(0, this.most).map((row) => this.row(row));
    for (const [id, entry] of this.shown) if (!rows.includes(entry)) this.shown.delete(id);
    place(this.body, rows.map((entry) => entry.node));
    this.heads.forEach((head, n) => {
      const sorted = this.columns[n].key === key ? (down ? "descending" : "ascending") : "none";
      if (head.getAttribute("aria-sort") !== sorted) head.setAttribute("aria-sort", sorted);
    });
    const left = found.length - rows.length;
    say(this.count, found.length ? `${number(rows.length)} of ${number(found.length)}` : this.options.empty ?? "None yet.");
    this.more.hidden = left <= 0;
  }

  row(row) {
    let entry = this.shown.get(row.id);
    if (!entry) {
      const cells = this.columns.map((column) => el("td", { role: "cell", class: classOf(column), "data-label": column.title }));
      entry = { node: el("tr", { role: "row" }, cells), cells, said: [] };
      this.shown.set(row.id, entry);
    }
    this.columns.forEach((column, n) => {
      const said = column.said ? column.said(row) : row[column.key];
      if (entry.said[n] === said) return;
      entry.said[n] = said;
      entry.cells[n].replaceChildren(content(column, row, said));
    });
    return entry;
  }
}

function content(column, row, said) {
  if (column.href) return el("a", { href: column.href(row) }, said);
  if (column.kind === "badge") return badge(said);
  return document.createTextNode(column.kind === "number" && typeof said === "number" ? number(said) : String(said));
}

function classOf(column) {
  return [column.kind === "number" ? "number" : "", column.less ? "less" : ""].join(" ").trim() || null;
}

function compare(a, b, key, kind) {
  const [left, right] = [a[key], b[key]];
  if (kind === "number" || typeof left === "number") return amount(left) - amount(right) || order(a.id, b.id);
  return String(left).localeCompare(String(right)) || order(a.id, b.id);
}

function order(a, b) {
  return typeof a === "number" ? a - b : String(a).localeCompare(String(b));
}

function amount(value) {
  const parsed = Number(String(value).replaceAll(",", ""));
  return Number.isNaN(parsed) || value === "" ? -1 : parsed;
}

/** Puts nodes into this order and takes out all others; a node that stands right is not touched. */
function place(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, n) => {
    if (parent.children[n] !== node) parent.insertBefore(node, parent.children[n] ?? null);
  });
}
