// The editor of one rule or folder; problems are those of `vdevice check`, beside their field.
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, isAdmin } from "../api.js";
import { html } from "../html.js";
import { t } from "../words.js";
import { Choice, Field, Numbers, Pairs } from "./fields.js";

const TRIGGERS = ["write", "change", "rising", "falling"];
const LIMITS = ["above", "below", "equals", "not_equals", "hysteresis"];

const isEmpty = (value) => value === "" || value === undefined || value === null ||
  (typeof value === "object" && !Object.keys(value).length);
const cleaned = (settings) => Object.fromEntries(Object.entries(settings).filter(([key, value]) => key === "folder" || !isEmpty(value)));
// What somebody types for `equals` may be a number, true or false, or a text.
const meant = (text) => (text === "true" ? true : text === "false" ? false : text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text);

export function RuleEditor({ rule, tag, points, close }) {
  const [settings, setSettings] = useState(rule.settings);
  const [problems, setProblems] = useState([]);
  const [words, setWords] = useState("");
  const dialog = useRef();
  // The file as it was when the editor was opened: what somebody else saves meanwhile is not lost.
  const seen = useRef(tag);
  useEffect(() => dialog.current.showModal(), []);

  const path = rule.place.map((index) => `rules[${index}]`).join(".");
  const set = (key, value) => setSettings((old) => ({ ...old, [key]: value }));
  const problemOf = (key) => problems.filter((one) => one.path === `${path}.${key}` || one.path.startsWith(`${path}.${key}.`) || one.path.startsWith(`${path}.${key}[`)).map((one) => one.message).join("; ");
  const elsewhere = problems.filter((one) => !one.path.startsWith(`${path}.`));
  const save = async (event) => {
    event.preventDefault();
    try {
      await ask("PUT", "rules", { tag: seen.current, place: rule.place, settings: cleaned(settings) });
      close();
    } catch (problem) {
      setProblems(problem.problems);
      setWords(problem.problems.length ? "" : problem.status ? problem.message : t("gone, nothing is lost"));
    }
  };
  const shared = { settings, set, problemOf };
  const when = settings.when ?? {};
  const limit = (name) => html`<div class="field"><label for="f-${name}">${t(`field ${name}`)}</label>
    <input id="f-${name}" value=${when[name] ?? ""} onInput=${(e) => set("when", cleaned({ ...when, [name]: meant(e.target.value) }))} /></div>`;
  return html`<dialog ref=${dialog} onCancel=${(e) => { if (JSON.stringify(settings) !== JSON.stringify(rule.settings) && !confirm(t("not saved, leave?"))) e.preventDefault(); }} onClose=${close} aria-labelledby="rule-title">
    <h2 id="rule-title">${t(settings.folder === undefined ? "Rule" : "Folder")}</h2>
    <form onSubmit=${save}>
      ${settings.folder !== undefined ? html`<${Field} name="folder" ...${shared} />` : html`
        <${Field} name="description" ...${shared} />
        <${Choice} name="source" choices=${["", ...points.map((one) => one.name)]} ...${shared} />
        <${Choice} name="trigger" choices=${TRIGGERS} optional=${true} ...${shared} />
        <details open=${Boolean(settings.when)}><summary>${t("Condition")}</summary>${LIMITS.map(limit)}<p class="problem">${problemOf("when")}</p></details>
        <details open=${Boolean(settings.map)}><summary>${t("Texts for values")}</summary><${Pairs} name="map" isTable=${true} ...${shared} /></details>
        <${Field} name="template" ...${shared} />
        <div class="field ${problemOf("destinations") ? "wrong" : ""}"><label for="f-destinations">${t("field destinations")}</label>
          <input id="f-destinations" value=${(settings.destinations ?? []).join(", ")} onInput=${(e) => set("destinations", e.target.value.split(",").map((one) => one.trim()).filter(Boolean))} />
          <p class="problem">${problemOf("destinations")}</p></div>
        <${Numbers} names=${["delay", "min_interval"]} ...${shared} />`}
      <p class="problem" role="alert">${words} ${elsewhere.map((one) => html`<span>${one.path}: ${one.message} </span>`)}</p>
      <p>${isAdmin.value && html`<button class="main">${t("Save")}</button>`} <button type="button" onClick=${close}>${t("Cancel")}</button></p>
    </form></dialog>`;
}
