// Points with their live values; rules in their order, switched, moved, edited; and what would happen if.
import { useEffect, useState } from "preact/hooks";
import { ask, get, isAdmin, tell } from "../api.js";
import { html } from "../html.js";
import { t } from "../words.js";
import { RuleEditor } from "./rule_editor.js";

const same = (a, b) => a.join() === b.join();

function Rule({ rule, count, act }) {
  const { settings, place } = rule;
  const index = place.at(-1);
  const name = settings.folder || settings.description || `${settings.source} → ${(settings.destinations ?? []).join(", ")}`;
  const keys = (event) => {
    if (!isAdmin.value) return;
    if (event.altKey && event.key === "ArrowUp" && index > 0) act.move(place, -1);
    else if (event.altKey && event.key === "ArrowDown" && index < count - 1) act.move(place, 1);
    else return;
    event.preventDefault();
  };
  const drop = (event) => {
    event.preventDefault();
    event.stopPropagation();
    const from = JSON.parse(event.dataTransfer.getData("text/plain") || "[]");
    if (from.length && same(from.slice(0, -1), place.slice(0, -1))) act.move(from, index - from.at(-1));
  };
  return html`<li draggable=${isAdmin.value} onDragStart=${(e) => { e.stopPropagation(); e.dataTransfer.setData("text/plain", JSON.stringify(place)); }}
      onDragOver=${(e) => e.preventDefault()} onDrop=${drop}>
    <div class="rule" onKeyDown=${keys} onDblClick=${() => act.open(rule)}>
      <input type="checkbox" checked=${rule.enabled} disabled=${!isAdmin.value} aria-label=${t("switch {0}", name)} onChange=${(e) => act.turn(place, e.target.checked)} />
      <span class=${rule.enabled ? "" : "off"}>${settings.folder ? html`<b>${name}</b>` : name}</span>
      ${isAdmin.value && html`<span class="tools">
        <button aria-label=${t("edit {0}", name)} onClick=${() => act.open(rule)}>${t("Edit")}</button>
        <button disabled=${!index} aria-label=${t("up {0}", name)} onClick=${() => act.move(place, -1)}>↑</button>
        <button disabled=${index === count - 1} aria-label=${t("down {0}", name)} onClick=${() => act.move(place, 1)}>↓</button>
        <button aria-label=${t("remove {0}", name)} onClick=${() => confirm(t("remove {0}?", name)) && act.save(place, null)}>×</button></span>`}
    </div>
    ${settings.folder !== undefined && html`<ul>${rule.rules.map((one) => html`<${Rule} key=${one.place.join()} rule=${one} count=${rule.rules.length} act=${act} />`)}
      ${isAdmin.value && html`<li><button onClick=${() => act.open({ place: [...place, rule.rules.length], settings: {} })}>${t("Add a rule to {0}", name)}</button></li>`}</ul>`}
  </li>`;
}

export function Rules() {
  const [found, setFound] = useState({ points: [], rules: [], warnings: [], tag: "" });
  const [point, setPoint] = useState("");
  const [value, setValue] = useState("");
  const [steps, setSteps] = useState(null);
  const [editing, setEditing] = useState(null);
  const read = () => get("converter").then(setFound).catch(() => {});
  useEffect(() => {
    read();
    const timer = setInterval(read, 1000);
    return () => clearInterval(timer);
  }, []);

  const change = (method, path, body) => tell(async () => { await ask(method, path, { tag: found.tag, ...body }); await read(); });
  const act = {
    open: setEditing,
    move: (place, by) => change("POST", "rules/move", { place, by }),
    turn: (place, enabled) => change("POST", "rules/switch", { place, enabled }),
    save: (place, settings) => change("PUT", "rules", { place, settings }),
  };
  const name = point || found.points[0]?.name || "";
  const tryOut = async (event) => {
    event.preventDefault();
    setSteps(await ask("POST", `points/${encodeURIComponent(name)}/what-if`, { value }).catch((problem) => [`${problem.message}`]));
  };
  if (!found.points.length) return html`<p class="hint">${t("no points")}</p>`;
  return html`
    <form class="bar" onSubmit=${tryOut}><b>${t("what if")}</b>
      <label>${t("point")} <select value=${name} onChange=${(e) => setPoint(e.target.value)}>${found.points.map((one) => html`<option>${one.name}</option>`)}</select></label>
      <label>${t("became")} <input value=${value} onInput=${(e) => setValue(e.target.value)} required /></label><button class="main">${t("Show")}</button></form>
    ${steps && html`<ul class="steps" role="status">${steps.length ? steps.map((one) => html`<li>${one}</li>`) : html`<li>${t("no rule")}</li>`}</ul>`}
    <div class="columns"><section><h2>${t("Points")}</h2><table><thead><tr>${["name", "space", "address", "type", "value"].map((one) => html`<th scope="col">${t(one)}</th>`)}</tr></thead>
      <tbody>${found.points.map((one) => html`<tr key=${one.name}><th scope="row" title=${one.description}>${one.name}</th><td>${one.space}</td><td>${one.address}</td><td>${one.type}</td><td>${one.value} ${one.unit}</td></tr>`)}</tbody></table></section>
    <section><h2>${t("Rules")}</h2><ul class="tree">${found.rules.map((one) => html`<${Rule} key=${one.place.join()} rule=${one} count=${found.rules.length} act=${act} />`)}</ul>
      ${found.warnings.map((one) => html`<p class="warning">${one.path}: ${one.message}</p>`)}
      ${isAdmin.value && html`<p class="bar"><button onClick=${() => setEditing({ place: [found.rules.length], settings: {} })}>${t("Add a rule")}</button>
        <button onClick=${() => setEditing({ place: [found.rules.length], settings: { folder: "" } })}>${t("Add a folder")}</button></p>`}</section></div>
    ${editing && html`<${RuleEditor} rule=${editing} tag=${found.tag} points=${found.points} close=${() => { setEditing(null); read(); }} />`}`;
}
