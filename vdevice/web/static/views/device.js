// The device itself: connections, outbox, the last hour, log, files, and who has access.
import { useEffect, useState } from "preact/hooks";
import { ask, device, download, get, isAdmin, tell } from "../api.js";
import { html } from "../html.js";
import { moment, number, t } from "../words.js";
import { Plot } from "./plot.js";

const EVERY = 5;

function Tokens() {
  const [rows, setRows] = useState([]);
  const [made, setMade] = useState("");
  const load = () => get("tokens").then(setRows).catch(() => {});
  useEffect(() => { load(); }, []);
  const make = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    await tell(async () => {
      setMade((await ask("POST", "tokens", { name: form.get("name"), role: form.get("role") })).token);
      await load();
    });
  };
  const revoke = (name) => tell(async () => { await ask("DELETE", `tokens/${encodeURIComponent(name)}`); await load(); });
  return html`<section><h2>${t("API tokens")}</h2>
    <form class="bar" onSubmit=${make}><label>${t("name")} <input name="name" required /></label>
      <label>${t("role")} <select name="role"><option value="viewer">${t("viewer")}</option><option value="admin">${t("admin")}</option></select></label><button>${t("Make")}</button></form>
    ${made && html`<p role="status">${t("shown once")} <code>${made}</code></p>`}
    <ul>${rows.map((row) => html`<li key=${row.name}>${row.name}, ${t(row.role)}, ${moment(row.created_at)} <button onClick=${() => revoke(row.name)}>${t("Revoke")} <span class="hidden">${row.name}</span></button></li>`)}</ul></section>`;
}

function line(raw) {
  try {
    const { timestamp, level, event, ...rest } = JSON.parse(raw);
    return { level, text: `${timestamp.slice(11, 19)} ${event}  ${Object.entries(rest).map(([key, value]) => `${key}=${value}`).join("  ")}` };
  } catch {
    return { level: "", text: raw };
  }
}

export function Device() {
  const [found, setFound] = useState(null);
  useEffect(() => {
    const read = () => get("system").then(setFound).catch(() => {});
    read();
    const timer = setInterval(read, 2000);
    return () => clearInterval(timer);
  }, []);
  if (!found || !device.value) return null;
  const one = device.value;
  const facts = [
    ["version", one.version], ["uptime", `${number.format(one.uptime)} s`], ["Modbus", found.modbus], ["Modbus TLS", found.modbus_tls],
    ["waiting", number.format(one.waiting)], ["outbox size", `${number.format(Math.round(found.outbox_bytes / 1024))} KiB`],
    ["oldest", found.oldest_waiting ? moment(found.oldest_waiting) : "–"], ["config", one.config], ...Object.entries(found.limits),
  ];
  const rate = (index) => found.history.map((sample) => Math.round((sample[index] / EVERY) * 10) / 10);
  return html`<div class="columns">
    <section><h2>${t("view device")}</h2><dl>${facts.filter(([, value]) => value).map(([name, value]) => html`<dt>${t(name)}</dt><dd>${value}</dd>`)}</dl>
      <p><button onClick=${() => tell(async () => download("vdevice.toml", (await get("config")).text))}>${t("Download config")}</button>
        ${isAdmin.value && html` <a class="button" href="api/v1/backup" download="vdevice-backup.zip">${t("Download backup")}</a>`}</p>
      <${Plot} title=${t("accepted a second")} values=${rate(1)} /><${Plot} title=${t("delivered a second")} values=${rate(2)} />
      <${Plot} title=${t("waiting")} values=${found.history.map((sample) => sample[3])} /><${Plot} title=${t("latency ms")} values=${found.history.map((sample) => sample[4])} /></section>
    <section><h2>${t("Connections")}</h2><table><thead><tr>${["client", "role", "since", "requests", "last error"].map((name) => html`<th scope="col">${t(name)}</th>`)}</tr></thead>
      <tbody>${found.connections.map((row) => html`<tr><th scope="row">${row.name} ${row.name !== row.address ? row.address : ""}</th><td>${row.role}</td><td>${moment(row.since)}</td><td>${number.format(row.requests)}</td><td>${row.last_error ? String(row.last_error).padStart(2, "0") : ""}</td></tr>`)}</tbody></table>
      ${!found.connections.length && html`<p class="hint">${t("no connections")}</p>`}
      ${isAdmin.value && html`<${Tokens} />`}</section>
    <section class="wide"><h2>${t("Log")}</h2><pre class="log" tabindex="0">${found.log.toReversed().map((raw) => { const { level, text } = line(raw); return html`<span class=${level}>${text}${"\n"}</span>`; })}</pre></section>
  </div>`;
}
