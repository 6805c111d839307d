// All 64 targets on one screen: what each is, how it goes, live; choose, edit, copy, paste, pause.
import { useRef, useState } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { ask, get, isAdmin, notice, targets, tell } from "../api.js";
import { html } from "../html.js";
import { moment, number, t } from "../words.js";
import { Editor } from "./editor.js";
import { Menu } from "./menu.js";

const WORST_FIRST = ["failed", "waiting to retry", "queued", "sending", "paused", "disabled", "idle", "not configured"];
const ORDERS = {
  number: (row) => row.number,
  state: (row) => WORST_FIRST.indexOf(look(row)),
  queued: (row) => -row.queued,
  failed: (row) => -row.failed,
  time: (row) => -row.finished_at,
  description: (row) => row.description.toLowerCase() || "￿",
};

// The state's colour: an idle target whose last string failed is not well.
function look(row) {
  return row.state === "idle" && row.error ? "failed" : row.state;
}

export function outcome(row) {
  if (row.error) return row.error_text || `${t("error")} ${row.error}`;
  return row.http_status ? `HTTP ${row.http_status}, ${number.format(row.latency_ms)} ms` : "";
}

function Cell({ row, chosen, current, ...handlers }) {
  const words = t(`state ${look(row)}`);
  if (row.state === "not configured") {
    return html`<div role="option" class="cell empty" aria-selected=${chosen} aria-label="${row.number}, ${words}"
      tabindex=${current ? 0 : -1} data-number=${row.number} ...${handlers}><b>${row.number}</b></div>`;
  }
  return html`<div role="option" class="cell s-${look(row).replaceAll(" ", "-")}" aria-selected=${chosen}
      tabindex=${current ? 0 : -1} data-number=${row.number} title=${outcome(row)} ...${handlers}>
    <b>${row.number}</b> <span class="name">${row.description || row.host}</span>
    <span class="how">${row.method} ${row.host}</span>
    <span class="state">${words}${row.full ? `, ${t("full")}` : ""}</span>
    <span class="counts"><span title=${t("queued")}>${number.format(row.queued)}</span> ·
      <span title=${t("delivered")}>✓ ${number.format(row.delivered)}</span> ·
      <span title=${t("failed")}>✗ ${number.format(row.failed)}</span>${row.refused ? html` ·
      <span title=${t("refused")}>⊘ ${number.format(row.refused)}</span>` : ""}</span>
    <span class="last">${moment(row.finished_at)} ${outcome(row)}</span>
  </div>`;
}

export function Targets() {
  const [search, setSearch] = useState("");
  const [only, setOnly] = useState("all");
  const [order, setOrder] = useState("number");
  const [editing, setEditing] = useState(0);
  const [menu, setMenu] = useState(null);
  const chosen = useSignal(new Set());
  const current = useSignal(1);
  const copied = useSignal(0);
  const grid = useRef();

  const wanted = search.toLowerCase();
  const rows = targets.value
    .filter((row) => only === "all" || (only === "configured" ? row.state !== "not configured" : look(row) === only || row.failed && only === "failed"))
    .filter((row) => `${row.number} ${row.description} ${row.method} ${row.host} ${row.error_text}`.toLowerCase().includes(wanted))
    .sort((a, b) => (ORDERS[order](a) < ORDERS[order](b) ? -1 : ORDERS[order](a) > ORDERS[order](b) ? 1 : a.number - b.number));
  if (rows.length && !rows.some((row) => row.number === current.value)) current.value = rows[0].number;

  const focus = (wantedNumber) => {
    current.value = wantedNumber;
    requestAnimationFrame(() => grid.current?.querySelector(`[data-number="${wantedNumber}"]`)?.focus());
  };
  const choose = (of, { add, range } = {}) => {
    const numbers = rows.map((row) => row.number);
    const set = new Set(add ? chosen.value : []);
    if (range) {
      const [from, to] = [numbers.indexOf(current.value), numbers.indexOf(of)].sort((a, b) => a - b);
      numbers.slice(from, to + 1).forEach((one) => set.add(one));
    } else if (add && set.has(of)) set.delete(of);
    else set.add(of);
    chosen.value = set;
    focus(of);
  };
  const affected = () => (chosen.value.has(current.value) ? [...chosen.value] : [current.value]);
  const each = (work, done) => tell(async () => { for (const one of affected()) await work(one); }, done);

  const copy = () => { copied.value = current.value; notice.value = t("copied {0}", current.value); };
  const paste = () => copied.value && tell(
    () => ask("POST", `targets/${copied.value}/copy`, { to: affected() }),
    t("pasted {0} to {1}", copied.value, affected().join(", ")));
  const toggle = () => each(async (one) => {
    const { tag, settings } = await get(`targets/${one}`);
    if (settings) await ask("PUT", `targets/${one}`, { tag, settings: { ...settings, enabled: settings.enabled === false } });
  });
  const pause = () => each((one) => ask("POST", `targets/${one}/${targets.value[one - 1].paused ? "resume" : "pause"}`));
  const clear = () => confirm(t("clear {0}?", affected().join(", "))) && each(async (one) => {
    const { tag } = await get(`targets/${one}`);
    await ask("DELETE", `targets/${one}?tag=${tag}`);
  }, t("cleared"));
  const test = () => each(async (one) => {
    const { settings } = await get(`targets/${one}`);
    const tried = await ask("POST", `targets/${one}/test`, { settings, value: t("test string") });
    notice.value = `${one}: ${tried.http_status ? `HTTP ${tried.http_status}` : tried.text}, ${tried.ms} ms`;
  });

  const row = targets.value[current.value - 1];
  const there = row && row.state !== "not configured";
  const actions = [
    ["Edit", "Enter", () => setEditing(current.value), true],
    ["Test", "", test, there && isAdmin.value],
    ["Copy", "Ctrl+C", copy, there],
    ["Paste", "Ctrl+V", paste, copied.value && isAdmin.value],
    [row?.enabled ? "Disable" : "Enable", "", toggle, there && isAdmin.value],
    [row?.paused ? "Resume" : "Pause", "", pause, there && isAdmin.value],
    ["Clear", "Del", clear, there && isAdmin.value],
  ];

  const move = (event) => {
    const index = rows.findIndex((one) => one.number === current.value);
    const cells = grid.current.children;
    const columns = [...cells].filter((cell) => cell.offsetTop === cells[0].offsetTop).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -index, End: rows.length - 1 - index }[event.key];
    const command = event.ctrlKey || event.metaKey;
    if (step !== undefined) {
      const next = rows[Math.min(Math.max(index + step, 0), rows.length - 1)];
      if (event.shiftKey) choose(next.number, { range: true, add: true });
      else focus(next.number);
    } else if (event.key === "Enter" || event.key === "F2") setEditing(current.value);
    else if (event.key === " ") choose(current.value, { add: true });
    else if (event.key === "Delete" && there && isAdmin.value) clear();
    else if (command && event.key === "c" && there) copy();
    else if (command && event.key === "v" && isAdmin.value) paste();
    else if (command && event.key === "a") chosen.value = new Set(rows.map((one) => one.number));
    else if (event.key === "Escape") chosen.value = new Set();
    else return;
    event.preventDefault();
  };
  const open = (event, of) => {
    event.preventDefault();
    if (!chosen.value.has(of)) choose(of);
    const box = event.currentTarget.getBoundingClientRect();
    setMenu({ x: event.clientX || box.left + 20, y: event.clientY || box.top + 20 });
  };

  return html`
    <div class="bar">
      <input type="search" placeholder=${t("Search")} aria-label=${t("Search")} value=${search} onInput=${(e) => setSearch(e.target.value)} />
      <label>${t("Show")} <select value=${only} onChange=${(e) => setOnly(e.target.value)}>
        ${["all", "configured", "failed", "waiting to retry", "queued", "paused", "disabled"].map((one) => html`<option value=${one}>${t(`show ${one}`)}</option>`)}
      </select></label>
      <label>${t("Sort by")} <select value=${order} onChange=${(e) => setOrder(e.target.value)}>
        ${Object.keys(ORDERS).map((one) => html`<option value=${one}>${t(`sort ${one}`)}</option>`)}
      </select></label>
      <span class="hint">${t("targets hint")}</span>
    </div>
    <div class="grid" role="listbox" aria-label=${t("view targets")} aria-multiselectable="true" ref=${grid} onKeyDown=${move}>
      ${rows.map((one) => html`<${Cell} key=${one.number} row=${one} chosen=${chosen.value.has(one.number)} current=${current.value === one.number}
        onClick=${(e) => choose(one.number, { add: e.ctrlKey || e.metaKey, range: e.shiftKey })}
        onDblClick=${() => setEditing(one.number)} onContextMenu=${(e) => open(e, one.number)} />`)}
    </div>
    ${menu && html`<${Menu} at=${menu} actions=${actions} close=${() => { setMenu(null); focus(current.value); }} />`}
    ${editing > 0 && html`<${Editor} number=${editing} close=${() => { setEditing(0); focus(editing); }} />`}`;
}
