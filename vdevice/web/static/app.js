// The frame: sign in, tabs by the address's #, what the device says of itself, and a line when it is gone.
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { signal } from "@preact/signals";
import { device, enter, leave, link, notice, session } from "./api.js";
import { html } from "./html.js";
import { number, t } from "./words.js";
import { Activity } from "./views/activity.js";
import { Device } from "./views/device.js";
import { SignIn } from "./views/signin.js";
import { Registers } from "./views/registers.js";
import { Rules } from "./views/rules.js";
import { Targets } from "./views/targets.js";

const VIEWS = { targets: Targets, activity: Activity, rules: Rules, registers: Registers, device: Device };
const view = signal("targets");
const ready = signal(false);

function follow() {
  const wanted = location.hash.slice(1).split("?")[0];
  view.value = wanted in VIEWS ? wanted : "targets";
}

function health() {
  const one = device.value;
  if (link.value === "gone") return ["bad", t("gone")];
  if (!one) return ["", t("connecting")];
  if (one.outbox_failing) return ["bad", t("outbox failing")];
  if (one.outbox_full) return ["bad", t("outbox full")];
  if (!one.delivering) return ["bad", t("delivery stopped")];
  return ["good", t("healthy")];
}

function Header() {
  const [kind, words] = health();
  return html`<header>
    <h1>${device.value?.id ?? "vdevice"}</h1>
    <span class="health ${kind}" role="status">${words}</span>
    ${device.value && html`<span>${t("{0} waiting", number.format(device.value.waiting))}</span>`}
    <nav aria-label=${t("Views")}>${Object.keys(VIEWS).map((name) => html`
      <a href="#${name}" aria-current=${view.value === name ? "page" : undefined}>${t(`view ${name}`)}</a>`)}
    </nav>
    ${!session.value.open && html`<button onClick=${leave}>${t("Sign out")} ${session.value.name}</button>`}
  </header>`;
}

function App() {
  useEffect(() => {
    addEventListener("hashchange", follow);
    follow();
    enter().catch(() => {}).finally(() => { ready.value = true; });
  }, []);
  if (!ready.value) return null;
  if (!session.value) return html`<${SignIn} />`;
  const View = VIEWS[view.value];
  return html`
    <${Header} />
    ${link.value === "gone" && html`<p class="banner" role="alert">${t("gone, comes back by itself")}</p>`}
    <main><${View} /></main>
    <div class="notice" role="status" aria-live="polite">${notice.value && html`
      <span>${notice.value}</span> <button onClick=${() => { notice.value = ""; }}>${t("Close")}</button>`}
    </div>`;
}

render(html`<${App} />`, document.body);
