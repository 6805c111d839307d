// The editor's fields: each knows its name, its value, and shows its problem beside it.
import { useRef } from "preact/hooks";
import { html } from "../html.js";
import { t } from "../words.js";

const VARIABLES = ["$VALUE", "$PARAMETER", "$TIMESTAMP", "$DESCRIPTION", "$SOURCECONNECTION", "$SOURCEPARAMETER", "$SOURCEVALUE", "$EVENTID", "$DEVICE", "$ISOTIME"];

export const isKept = (value) => value?.kept === true;

function Row({ name, problem, children }) {
  return html`<div class="field ${problem ? "wrong" : ""}"><label for="f-${name}">${t(`field ${name}`)}</label>${children}
    <p class="problem" id="p-${name}">${problem}</p></div>`;
}

const aria = (name, problem) => ({ id: `f-${name}`, "aria-describedby": `p-${name}`, "aria-invalid": problem ? "true" : undefined });

export function Field({ name, choices, settings, set, problemOf }) {
  const problem = problemOf(name);
  return html`<${Row} name=${name} problem=${problem}>
    <input ...${aria(name, problem)} value=${settings[name] ?? ""} list=${choices && `l-${name}`} autocomplete="off" spellcheck=${false} onInput=${(e) => set(name, e.target.value)} />
    ${choices && html`<datalist id="l-${name}">${choices.map((one) => html`<option value=${one} />`)}</datalist>`}<//>`;
}

export function Numbers({ names, settings, set, problemOf }) {
  return names.map((name) => html`<${Row} name=${name} problem=${problemOf(name)}>
    <input ...${aria(name, problemOf(name))} type="number" step="any" min="0" value=${settings[name] ?? ""} placeholder=${t("default")}
      onInput=${(e) => set(name, e.target.value === "" ? undefined : Number(e.target.value))} /><//>`);
}

export function Choice({ name, choices, optional, settings, set, problemOf }) {
  const problem = problemOf(name);
  return html`<${Row} name=${name} problem=${problem}>
    <select ...${aria(name, problem)} value=${settings[name] ?? ""} onChange=${(e) => set(name, e.target.value || undefined)}>
      ${optional && html`<option value="">${t("default")} (${choices[0]})</option>`}
      ${choices.map((one) => html`<option value=${one}>${one}</option>`)}
    </select><//>`;
}

export function Switch({ name, byDefault = false, settings, set }) {
  return html`<div class="field"><label for="f-${name}">${t(`field ${name}`)}</label>
    <input id="f-${name}" type="checkbox" checked=${settings[name] ?? byDefault} onChange=${(e) => set(name, e.target.checked === byDefault ? undefined : e.target.checked)} /></div>`;
}

// A secret is never shown: it stays, is written anew, or goes.
export function Secret({ name, settings, set, problemOf }) {
  const value = settings[name];
  const problem = problemOf(name);
  const fixed = isKept(value) ? t("kept, not shown") : typeof value === "object" && value ? `${Object.keys(value)[0]}: ${Object.values(value)[0]}` : null;
  return html`<${Row} name=${name} problem=${problem}>
    ${fixed !== null
      ? html`<span class="kept" ...${aria(name, problem)}>${fixed} <button type="button" onClick=${() => set(name, "")}>${t("Replace")} <span class="hidden">${t(`field ${name}`)}</span></button></span>`
      : html`<input ...${aria(name, problem)} type=${name === "url" ? "text" : "password"} autocomplete="off" value=${value ?? ""} onInput=${(e) => set(name, e.target.value)} />`}<//>`;
}

// A table of names and values; cursor-down in the last row adds one, rows move and go.
export function Pairs({ name, isTable, settings, set, problemOf }) {
  const table = useRef();
  const rows = isTable ? Object.entries(settings[name] ?? {}) : settings[name] ?? [];
  const problem = problemOf(name);
  const put = (next) => set(name, isTable ? Object.fromEntries(next) : next);
  const change = (index, place, value) => put(rows.map((row, at) => (at === index ? row.map((old, part) => (part === place ? value : old)) : row)));
  const focus = (index, place) => requestAnimationFrame(() => table.current.querySelectorAll(`[data-place="${place}"]`)[index]?.focus());
  const add = (place = 0) => { put([...rows, ["", ""]]); focus(rows.length, place); };
  const swap = (index, by) => {
    const next = rows.slice();
    [next[index], next[index + by]] = [next[index + by], next[index]];
    put(next);
    focus(index + by, 0);
  };
  const keys = (event, index, place) => {
    if (event.altKey && event.key === "ArrowUp" && index > 0) swap(index, -1);
    else if (event.altKey && event.key === "ArrowDown" && index < rows.length - 1) swap(index, 1);
    else if (event.key === "ArrowDown" && index === rows.length - 1) add(place);
    else if (event.key === "ArrowDown") focus(index + 1, place);
    else if (event.key === "ArrowUp" && index > 0) focus(index - 1, place);
    else return;
    event.preventDefault();
  };
  return html`<div class="field ${problem ? "wrong" : ""}"><span class="label" id="g-${name}">${t(`field ${name}`)}</span>
    <table class="pairs" ref=${table} aria-labelledby="g-${name}"><tbody>${rows.map((row, index) => html`<tr key=${index}>
      ${row.map((value, place) => html`<td>${isKept(value)
        ? html`<span class="kept">${t("kept, not shown")} <button type="button" onClick=${() => change(index, place, "")}>${t("Replace")}</button></span>`
        : html`<input data-place=${place} aria-label="${t(place ? "value" : "name")} ${index + 1}" value=${typeof value === "object" ? JSON.stringify(value) : value} spellcheck=${false}
            onInput=${(e) => change(index, place, e.target.value)} onKeyDown=${(e) => keys(e, index, place)} />`}</td>`)}
      <td><button type="button" disabled=${!index} aria-label=${t("up {0}", index + 1)} onClick=${() => swap(index, -1)}>↑</button>
        <button type="button" aria-label=${t("remove {0}", index + 1)} onClick=${() => put(rows.filter((_, at) => at !== index))}>×</button></td></tr>`)}
    </tbody></table>
    <button type="button" onClick=${() => add()}>${t("Add")} <span class="hidden">${t(`field ${name}`)}</span></button>
    <p class="problem">${problem}</p></div>`;
}

// The payload; where JSON is wrong in a line and column, a click leads there.
export function Payload({ name, settings, set, problemOf }) {
  const area = useRef();
  const problem = problemOf(name);
  const [, line, column] = /line (\d+), column (\d+)/.exec(problem) ?? [];
  const go = () => {
    const before = (settings[name] ?? "").split("\n").slice(0, line - 1).join("\n").length;
    const at = before + (line > 1 ? 1 : 0) + Number(column) - 1;
    area.current.focus();
    area.current.setSelectionRange(at, at + 1);
  };
  return html`<${Row} name=${name} problem=${line ? html`<button type="button" onClick=${go}>${problem}</button>` : problem}>
    <textarea ...${aria(name, problem)} ref=${area} rows="6" spellcheck=${false} value=${settings[name] ?? ""} onInput=${(e) => set(name, e.target.value)} /><//>`;
}

export function Variables({ insert }) {
  return html`<div class="field"><span class="label">${t("Insert")}</span><div class="variables">${VARIABLES.map((name) => html`
    <button type="button" onMouseDown=${(e) => e.preventDefault()} onClick=${() => insert(name)}>${name}</button>`)}</div></div>`;
}
