// The server's API, the only door; and the one store that its live stream feeds. All URLs are relative: any path prefix works.
import { computed, signal } from "@preact/signals";

export const device = signal(null);
export const targets = signal([]);
export const session = signal(null);
// "connecting", "live", or "gone" when the device does not answer.
export const link = signal("connecting");
export const notice = signal("");
// Grows with every string that was accepted or ended: views that show strings look again.
export const activity = computed(() =>
  targets.value.reduce((sum, one) => sum + one.accepted + one.delivered + one.failed, 0));
export const isAdmin = computed(() => session.value?.role === "admin");

export class Problem extends Error {
  constructor(body) {
    super(body.title);
    Object.assign(this, { problems: [], detail: "", current: "" }, body);
  }
}

export async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(`api/v1/${path}`, {
      method,
      // No other site can send this header, nor JSON, without being asked for it.
      headers: { "X-Vdevice": "1", ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Problem({ title: "gone", status: 0 });
  }
  if (answer.status === 401 && path !== "login") session.value = null;
  if (answer.status === 204) return null;
  const data = await answer.json().catch(() => ({ title: answer.statusText, status: answer.status }));
  if (!answer.ok) throw new Problem(data);
  return data;
}

export const get = (path) => ask("GET", path);

// Do something, and say in the notice what went wrong; true where it went well.
export async function tell(work, done = "") {
  try {
    await work();
    if (done) notice.value = done;
    return true;
  } catch (problem) {
    notice.value = [problem.message, problem.detail].filter(Boolean).join(": ");
    return false;
  }
}

let stream = null;

function take(event) {
  const data = JSON.parse(event.data);
  device.value = data.device;
  if (data.targets.length) {
    const rows = targets.value.slice();
    for (const row of data.targets) rows[row.number - 1] = row;
    targets.value = rows;
  }
  link.value = "live";
}

export function watch() {
  stream?.close();
  stream = new EventSource("api/v1/live");
  stream.addEventListener("state", take);
  stream.onerror = async () => {
    link.value = "gone";
    if (stream.readyState !== EventSource.CLOSED) return;
    // The browser gave up: a session that ended, or a proxy's error page.
    setTimeout(() => enter().catch(() => setTimeout(watch, 2000)), 1000);
  };
}

export async function enter() {
  session.value = await get("session");
  watch();
}

export async function leave() {
  stream?.close();
  await ask("POST", "logout");
  session.value = null;
}

export function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
