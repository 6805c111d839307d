// Points with their live values, the tree of rules, and what would happen if.
import { useEffect, useState } from "preact/hooks";
import { ask, get } from "../api.js";
import { html } from "../html.js";
import { t } from "../words.js";

function Rule({ rule }) {
  const words = rule.folder || rule.description || `${rule.source} → ${rule.destinations.join(", ")}`;
  const facts = [[t("source"), rule.source], [t("trigger"), rule.source && rule.trigger], [t("template"), rule.template], [t("destinations"), rule.destinations.join(", ")]];
  return html`<li><details open=${Boolean(rule.folder)}><summary class=${rule.enabled ? "" : "off"}>${words} ${!rule.enabled && `(${t("off")})`}</summary>
    ${rule.folder ? html`<ul>${rule.rules.map((one) => html`<${Rule} key=${one.path} rule=${one} />`)}</ul>`
      : html`<dl>${facts.filter(([, value]) => value).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`}</details></li>`;
}

export function Rules() {
  const [found, setFound] = useState({ points: [], rules: [] });
  const [point, setPoint] = useState("");
  const [value, setValue] = useState("");
  const [steps, setSteps] = useState(null);
  useEffect(() => {
    const read = () => get("converter").then(setFound).catch(() => {});
    read();
    const timer = setInterval(read, 1000);
    return () => clearInterval(timer);
  }, []);
  const name = point || found.points[0]?.name || "";
  const ask_ = async (event) => {
    event.preventDefault();
    setSteps(await ask("POST", `points/${encodeURIComponent(name)}/what-if`, { value }).catch((problem) => [`${problem.message}`]));
  };
  if (!found.points.length) return html`<p class="hint">${t("no points")}</p>`;
  return html`
    <form class="bar" onSubmit=${ask_}><b>${t("what if")}</b>
      <label>${t("point")} <select value=${name} onChange=${(e) => setPoint(e.target.value)}>${found.points.map((one) => html`<option>${one.name}</option>`)}</select></label>
      <label>${t("became")} <input value=${value} onInput=${(e) => setValue(e.target.value)} required /></label><button class="main">${t("Show")}</button></form>
    ${steps && html`<ul class="steps" role="status">${steps.length ? steps.map((one) => html`<li>${one}</li>`) : html`<li>${t("no rule")}</li>`}</ul>`}
    <div class="columns"><section><h2>${t("Points")}</h2><table><thead><tr>${["name", "space", "address", "type", "value"].map((one) => html`<th scope="col">${t(one)}</th>`)}</tr></thead>
      <tbody>${found.points.map((one) => html`<tr key=${one.name}><th scope="row" title=${one.description}>${one.name}</th><td>${one.space}</td><td>${one.address}</td><td>${one.type}</td><td>${one.value} ${one.unit}</td></tr>`)}</tbody></table></section>
    <section><h2>${t("Rules")}</h2><ul class="tree">${found.rules.map((one) => html`<${Rule} key=${one.path} rule=${one} />`)}</ul></section></div>`;
}
