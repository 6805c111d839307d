// The editor of one target: the fields of its method, problems beside them, and the request that would go out.
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, get, isAdmin, notice } from "../api.js";
import { html } from "../html.js";
import { t } from "../words.js";
import { Choice, Field, isKept, Numbers, Pairs, Payload, Secret, Switch, Variables } from "./fields.js";

const METHODS = ["get", "post-urlencoded", "post-multipart", "post-raw", "put", "delete", "slack", "teams", "mattermost"];
const CHAT = ["slack", "teams", "mattermost"];
const USES = {
  parameters: ["get", "delete", "post-urlencoded", "post-multipart"],
  content_type: ["post-raw", "put"],
  payload: ["post-raw", "put", ...CHAT],
  destination: ["mattermost"],
};
const CONTENT_TYPES = ["application/json", "text/plain; charset=utf-8", "application/xml", "text/csv", "application/x-www-form-urlencoded"];
const LISTS = {
  completion: ["request", "content", "commit", "idle"],
  format: ["nul", "fixed", "length16", "length32", "s7-string", "s7-wstring"],
  encoding: ["utf-8", "ascii", "latin-1", "cp1252", "utf-16-be", "utf-16-le"],
  byte_order: ["big", "little"],
  word_order: ["big", "little"],
  trigger: ["write", "change"],
};
const DELIVERY = ["timeout", "attempts", "backoff", "backoff_max", "max_age", "parallel", "rate"];
const NO_PREVIEW = { text: "", problems: [], warnings: [], words: "" };
const NEW = { method: "post-raw", url: "", payload: "$VALUE" };

export const uses = (method, key) => !USES[key] || USES[key].includes(method);

// What is sent: nothing that is empty, nothing that the method does not use.
export function cleaned(settings) {
  const used = Object.entries(settings).filter(([key, value]) =>
    uses(settings.method, key) && value !== "" && value !== undefined && value !== null &&
    !(Array.isArray(value) && !value.length) && !(key === "headers" && !Object.keys(value).length));
  return Object.fromEntries(used);
}

export function Editor({ number, close }) {
  const [settings, setSettings] = useState(null);
  const [tag, setTag] = useState("");
  const [sample, setSample] = useState("Grüße, 21.5 °C");
  const [preview, setPreview] = useState(NO_PREVIEW);
  const [tried, setTried] = useState(null);
  const [conflict, setConflict] = useState("");
  const [leaving, setLeaving] = useState(false);
  const dialog = useRef();
  const first = useRef("");
  const focused = useRef(null);

  useEffect(() => {
    dialog.current.showModal();
    get(`targets/${number}`).then((answer) => {
      first.current = JSON.stringify(answer.settings ?? NEW);
      setTag(answer.tag);
      setSettings(answer.settings ?? NEW);
    }).catch((problem) => { notice.value = problem.message; close(); });
  }, []);
  useEffect(() => {
    if (!settings || !isAdmin.value) return undefined;
    const wait = setTimeout(() => ask("POST", `targets/${number}/render`, { settings: cleaned(settings), value: sample })
      .then((answer) => setPreview({ ...NO_PREVIEW, text: answer.text, warnings: answer.warnings }))
      .catch((problem) => setPreview({ ...NO_PREVIEW, problems: problem.problems, words: problem.problems.length ? "" : problem.message })), 150);
    return () => clearTimeout(wait);
  }, [settings, sample]);
  const isDirty = settings && JSON.stringify(settings) !== first.current;
  useEffect(() => {
    const stay = (event) => { if (isDirty) event.preventDefault(); };
    addEventListener("beforeunload", stay);
    return () => removeEventListener("beforeunload", stay);
  }, [isDirty]);

  const leave = (event) => {
    event?.preventDefault();
    if (isDirty && !leaving) setLeaving(true);
    else close();
  };
  const set = (key, value) => { setLeaving(false); setSettings((old) => ({ ...old, [key]: value })); };
  const problemOf = (key) => preview.problems
    .filter((one) => one.path === `targets.${number}.${key}` || one.path.startsWith(`targets.${number}.${key}.`) || one.path.startsWith(`targets.${number}.${key}[`))
    .map((one) => one.message).join("; ");
  const elsewhere = preview.problems.filter((one) => !one.path.startsWith(`targets.${number}.`));

  const save = async (withTag = tag) => {
    try {
      await ask("PUT", `targets/${number}`, { tag: withTag, settings: cleaned(settings) });
      notice.value = t("saved {0}", number);
      close();
    } catch (problem) {
      if (problem.status === 409 && problem.current) setConflict(problem.current);
      else if (problem.problems.length) setPreview({ ...NO_PREVIEW, problems: problem.problems });
      else setPreview({ ...NO_PREVIEW, words: problem.status ? problem.message : t("gone, nothing is lost") });
    }
  };
  const overwrite = async () => save((await get(`targets/${number}`)).tag);
  const theirs = async () => {
    const answer = await get(`targets/${number}`);
    first.current = JSON.stringify(answer.settings ?? NEW);
    setTag(answer.tag);
    setSettings(answer.settings ?? NEW);
    setConflict("");
  };
  const test = async () => {
    setTried({ text: t("sending") });
    try {
      setTried(await ask("POST", `targets/${number}/test`, { settings: cleaned(settings), value: sample }));
    } catch (problem) {
      setTried({ text: problem.message });
    }
  };
  const insert = (name) => {
    const field = focused.current;
    if (!field?.isConnected) return;
    field.setRangeText(name, field.selectionStart, field.selectionEnd, "end");
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  };
  const remember = (event) => { if (event.target.matches("input:not([type]), input[type=text], textarea")) focused.current = event.target; };

  const shared = { settings, set, problemOf };
  const isChat = CHAT.includes(settings?.method);
  return html`<dialog class="editor" ref=${dialog} onCancel=${leave} aria-labelledby="editor-title">
    <h2 id="editor-title">${t("Target {0}", number)}</h2>
    ${settings && html`<form onSubmit=${(e) => { e.preventDefault(); save(); }} onFocusIn=${remember}>
      <div class="fields">
        <${Field} name="description" ...${shared} />
        <${Switch} name="enabled" byDefault=${true} ...${shared} />
        <${Choice} name="method" choices=${METHODS} ...${shared} />
        ${isChat || isKept(settings.url) || typeof settings.url === "object" ? html`<${Secret} name="url" ...${shared} />` : html`<${Field} name="url" ...${shared} />`}
        ${uses(settings.method, "parameters") && html`<${Pairs} name="parameters" ...${shared} />`}
        ${uses(settings.method, "content_type") && html`<${Field} name="content_type" choices=${CONTENT_TYPES} ...${shared} />`}
        ${uses(settings.method, "payload") && html`<${Payload} name="payload" ...${shared} />`}
        ${uses(settings.method, "destination") && html`<${Field} name="destination" ...${shared} />`}
        <${Variables} insert=${insert} />
        <details><summary>${t("Credentials and headers")}</summary>
          <${Field} name="auth_user" ...${shared} /><${Secret} name="auth_password" ...${shared} />
          <${Secret} name="bearer_token" ...${shared} /><${Secret} name="signing_secret" ...${shared} />
          <${Pairs} name="headers" isTable=${true} ...${shared} />
        </details>
        <details><summary>${t("How the PLC writes it")}</summary>
          ${Object.keys(LISTS).map((name) => html`<${Choice} name=${name} choices=${LISTS[name]} optional=${true} ...${shared} />`)}
          <${Numbers} names=${["registers", "idle_ms", "staging_timeout"]} ...${shared} />
          <${Switch} name="trim" ...${shared} /><${Switch} name="ignore_empty" ...${shared} />
        </details>
        <details><summary>${t("Delivery and TLS")}</summary>
          <${Numbers} names=${DELIVERY} ...${shared} />
          <${Switch} name="follow_redirects" ...${shared} /><${Switch} name="raw_variables" ...${shared} /><${Switch} name="debug" ...${shared} />
          ${["tls_ca", "tls_cert", "tls_key"].map((name) => html`<${Field} name=${name} ...${shared} />`)}
          <${Secret} name="proxy" ...${shared} />
        </details>
      </div>
      ${isAdmin.value && html`<section class="preview" aria-label=${t("Preview")}>
        <label>${t("Sample string")}<input value=${sample} onInput=${(e) => setSample(e.target.value)} /></label>
        <pre tabindex="0">${preview.text}</pre>
        <p class="problem" role="alert">${preview.words} ${elsewhere.map((one) => html`<span>${one.path}: ${one.message} </span>`)}</p>
        <p class="warning" role="status">${preview.warnings.map((one) => html`<span>${one.path.slice(`targets.${number}.`.length)} ${one.message} </span>`)}</p>
        <button type="button" onClick=${test}>${t("Test: send it now")}</button>
        ${tried && html`<div class="tried" role="status"><b>${tried.http_status ? `HTTP ${tried.http_status}` : ""} ${tried.text} ${tried.ms !== undefined ? `${tried.ms} ms` : ""}</b>
          ${tried.headers && html`<pre tabindex="0">${Object.entries(tried.headers).map(([name, value]) => `${name}: ${value}`).join("\n")}\n\n${tried.answer}</pre>`}</div>`}
      </section>`}
      ${conflict && html`<section class="conflict" role="alert"><p>${t("changed meanwhile")}</p>
        <div class="both"><div><h3>${t("The file now")}</h3><pre tabindex="0">${conflict}</pre></div>
        <div><h3>${t("Yours")}</h3><pre tabindex="0">${JSON.stringify(settings, null, 1)}</pre></div></div>
        <button type="button" onClick=${overwrite}>${t("Save mine")}</button>
        <button type="button" onClick=${theirs}>${t("Take the file's")}</button></section>`}
      <footer>
        ${leaving && html`<span class="problem" role="alert">${t("not saved")}</span>`}
        ${isAdmin.value && html`<button class="main">${t("Save")}</button>`}
        <button type="button" onClick=${leave}>${t(leaving ? "Leave without saving" : "Cancel")}</button>
      </footer>
    </form>`}
  </dialog>`;
}
