// Every string in its life, newest first; ten thousand rows, of which only those on the screen are drawn.
import { useEffect, useRef, useState } from "preact/hooks";
import { activity, ask, get, isAdmin, notice, targets, tell } from "../api.js";
import { html } from "../html.js";
import { moment, t } from "../words.js";

const HEIGHT = 30;
const NEWEST = 200;
const MOST = 10000;
const STATES = ["waiting", "delivered", "failed", "discarded"];

export function Activity() {
  const [rows, setRows] = useState([]);
  const [state, setState] = useState("");
  const [target, setTarget] = useState("0");
  const [text, setText] = useState("");
  const [top, setTop] = useState(0);
  const [open, setOpen] = useState(null);
  const [chosen, setChosen] = useState(new Set());
  const [reason, setReason] = useState("");
  const list = useRef();
  const whole = useRef(false);

  const choice = useRef("");
  choice.current = new URLSearchParams({ state, target, text }).toString();
  const load = async (limit) => {
    const asked = choice.current;
    const found = await get(`strings?${asked}&limit=${limit}`).catch(() => null);
    // A late answer to an older choice would hide what is chosen now.
    if (!found || asked !== choice.current) return;
    if (limit === MOST) whole.current = true;
    // What is new stands before what was loaded further down; what changed takes its old row's place.
    setRows((old) => {
      if (limit === MOST || !whole.current) return found;
      const ids = new Set(found.map((row) => row.id));
      return [...found, ...old.filter((row) => !ids.has(row.id))].slice(0, MOST);
    });
  };
  useEffect(() => { whole.current = false; setChosen(new Set()); load(NEWEST); }, [state, target, text]);
  const seen = activity.value;
  useEffect(() => {
    const wait = setTimeout(() => load(NEWEST), 300);
    return () => clearTimeout(wait);
  }, [seen]);

  const scroll = () => {
    setTop(list.current.scrollTop);
    if (!whole.current && rows.length >= NEWEST && list.current.scrollTop > (NEWEST - 50) * HEIGHT) load(MOST);
  };
  const choose = (id) => setChosen((old) => { const next = new Set(old); if (!next.delete(id)) next.add(id); return next; });
  const end = (what, body) => tell(async () => {
    const { count } = await ask("POST", `strings/${what}`, { ...body, reason });
    setChosen(new Set());
    await load(whole.current ? MOST : NEWEST);
    notice.value = t(`${what} {0}`, count);
  });
  const show = async (row) => setOpen(await get(`strings/${row.id}`).catch(() => null));
  const keys = (event, row) => {
    if (event.key === "Enter") show(row);
    else if (event.key === " ") choose(row.id);
    else if (event.key === "ArrowDown") event.currentTarget.nextElementSibling?.focus();
    else if (event.key === "ArrowUp") event.currentTarget.previousElementSibling?.focus();
    else return;
    event.preventDefault();
  };

  const start = Math.max(Math.floor(top / HEIGHT) - 10, 0);
  const shown = rows.slice(start, start + 80);
  return html`
    <div class="bar">
      <input type="search" placeholder=${t("Search")} aria-label=${t("Search")} onInput=${(e) => setText(e.target.value)} />
      <label>${t("State")} <select value=${state} onChange=${(e) => setState(e.target.value)}><option value="">${t("show all")}</option>
        ${STATES.map((one) => html`<option value=${one}>${t(one)}</option>`)}</select></label>
      <label>${t("Target")} <select value=${target} onChange=${(e) => setTarget(e.target.value)}><option value="0">${t("show all")}</option>
        ${targets.value.filter((row) => row.state !== "not configured").map((row) => html`<option value=${row.number}>${row.number} ${row.description}</option>`)}</select></label>
      ${isAdmin.value && html`<label>${t("Reason")} <input value=${reason} onInput=${(e) => setReason(e.target.value)} /></label>
        <button disabled=${!chosen.size} onClick=${() => end("replay", { ids: [...chosen] })}>${t("Replay")} (${chosen.size})</button>
        <button disabled=${!chosen.size} onClick=${() => end("discard", { ids: [...chosen] })}>${t("Discard")} (${chosen.size})</button>
        ${state === "failed" && html`<button onClick=${() => end("replay", { everything: true, target: Number(target) || null, text })}>${t("Replay all that fit")}</button>
        <button onClick=${() => confirm(t("discard all?")) && end("discard", { everything: true, target: Number(target) || null, text })}>${t("Discard all that fit")}</button>`}`}
    </div>
    <div class="strings" ref=${list} onScroll=${scroll} role="table" aria-label=${t("view activity")} aria-rowcount=${rows.length}>
      <div class="string head" role="row">${["", "time", "target", "state", "string", "tries", "outcome"].map((one) => html`<span role="columnheader">${one && t(`column ${one}`)}</span>`)}</div>
      <div class="space" role="presentation" ref=${(one) => { if (one) one.style.height = `${start * HEIGHT}px`; }}></div>
      ${shown.map((row) => html`<div class="string s-${row.state}" role="row" tabindex="0" key=${row.id} onKeyDown=${(e) => keys(e, row)} onDblClick=${() => show(row)}>
        <span role="cell"><input type="checkbox" aria-label=${t("choose {0}", row.value.slice(0, 40))} checked=${chosen.has(row.id)} onChange=${() => choose(row.id)} tabindex="-1" /></span>
        <span role="cell">${moment(row.accepted_at)}</span><span role="cell">${row.target}</span><span role="cell" class="state">${t(row.state)}</span>
        <span role="cell" class="text">${row.value}</span><span role="cell">${row.attempts || ""}</span>
        <span role="cell" class="text">${row.error_text || (row.http_status ? `HTTP ${row.http_status}` : "")}</span></div>`)}
      <div class="space" role="presentation" ref=${(one) => { if (one) one.style.height = `${Math.max(rows.length - start - 80, 0) * HEIGHT}px`; }}></div>
      ${!rows.length && html`<p class="hint">${t("no strings")}</p>`}
    </div>
    ${open && html`<${Detail} one=${open} close=${() => setOpen(null)} />`}`;
}

function Detail({ one, close }) {
  const dialog = useRef();
  useEffect(() => dialog.current.showModal(), []);
  const { row } = one;
  const facts = [
    ["string", row.value], ["source", `${row.source_connection} → ${row.source_parameter} ${one.source_value !== row.value ? one.source_value : ""}`],
    ["time", moment(row.accepted_at)], ["state", `${t(row.state)} ${moment(row.finished_at)}`], ["tries", row.attempts],
    ["outcome", row.error_text || (row.http_status ? `HTTP ${row.http_status}` : "")], ["next", row.state === "waiting" ? moment(row.next_at) : ""], ["id", row.id],
    ["reads better", one.reads_better_with],
  ];
  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="detail-title"><h2 id="detail-title">target/${row.target}</h2>
    <dl>${facts.filter(([, value]) => value).map(([name, value]) => html`<dt>${t(`column ${name}`)}</dt><dd>${value}</dd>`)}</dl>
    ${one.attempts.length > 0 && html`<h3>${t("column attempts")}</h3><ol>${one.attempts.map((each) => html`<li>${moment(each.at)}, ${each.ms} ms:
      ${each.http_status ? `HTTP ${each.http_status}` : ""} ${each.text} <code>${each.answer.slice(0, 120)}</code></li>`)}</ol>`}
    ${[["registers", one.registers], ["request", one.request], ["answer", one.answer]].map(([name, text]) => text && html`<h3>${t(`column ${name}`)}</h3><pre tabindex="0">${text}</pre>`)}
    <form method="dialog"><button class="main">${t("Close")}</button></form></dialog>`;
}
