// The register map of this device, live; and a small form to be the PLC.
import { useEffect, useState } from "preact/hooks";
import { ask, download, get, isAdmin, targets, tell } from "../api.js";
import { html } from "../html.js";
import { t } from "../words.js";

const FORMS = { md: "md", csv: "csv", json: "json", kepware: "csv", ignition: "json", homeassistant: "yaml", nodered: "json", st: "st", scl: "scl" };
const REFERENCE = { holding: 400001, input: 300001 };

const text = (value) => [value >> 8, value & 255].map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");

// Two bytes a register, the first character in the high byte, as UTF-8.
export function registersOf(words) {
  const bytes = [...new TextEncoder().encode(words)];
  if (bytes.length % 2) bytes.push(0);
  return Array.from({ length: bytes.length / 2 }, (_, index) => bytes[2 * index] * 256 + bytes[2 * index + 1]);
}

export function Registers() {
  const [space, setSpace] = useState("input");
  const [block, setBlock] = useState(0);
  const [found, setFound] = useState({ values: [], names: [] });
  const [address, setAddress] = useState("7000");
  const [words, setWords] = useState("");
  const [said, setSaid] = useState("");
  const start = 1000 * block + (space === "holding" && block ? 950 : 0);
  const count = block || space === "input" ? 50 : 900;

  useEffect(() => {
    let going = true;
    const read = async () => {
      const answer = await get(`registers?${new URLSearchParams({ space, address: start, count })}`).catch(() => null);
      if (!going) return;
      if (answer) setFound(answer);
      timer = setTimeout(read, 1000);
    };
    let timer = setTimeout(read, 0);
    return () => { going = false; clearTimeout(timer); };
  }, [space, start]);

  const write = async (event) => {
    event.preventDefault();
    const numbers = /^\s*(\d+[\s,]*)+$/.test(words) ? words.match(/\d+/g).map(Number) : registersOf(words);
    try {
      const answer = await ask("POST", "registers", { address: Number(address), values: numbers });
      setSaid(answer.exception ? `${t("exception")} ${String(answer.exception).padStart(2, "0")}: ${answer.words}` : t("written {0}", numbers.length));
    } catch (problem) {
      setSaid(`${problem.message} ${problem.detail}`);
    }
  };
  const save = (form) => tell(async () => download(`vdevice-map-${form}.${FORMS[form]}`, (await get(`map/${form}`)).text));

  return html`
    <div class="bar">
      <label>${t("Block")} <select value=${block} onChange=${(e) => setBlock(Number(e.target.value))}><option value="0">${t("device")}</option>
        ${targets.value.map((row) => html`<option value=${row.number}>target/${row.number} ${row.description}</option>`)}</select></label>
      <label>${t("Space")} <select value=${space} onChange=${(e) => setSpace(e.target.value)}><option value="input">${t("input registers")}</option><option value="holding">${t("holding registers")}</option></select></label>
      <span>${t("Map")} ${Object.keys(FORMS).map((form) => html`<button onClick=${() => save(form)}>${form}</button> `)}</span>
    </div>
    ${isAdmin.value && html`<form class="bar" onSubmit=${write} aria-label=${t("be the PLC")}><b>${t("be the PLC")}</b>
      <label>${t("address")} <input type="number" min="0" max="65535" value=${address} onInput=${(e) => setAddress(e.target.value)} required /></label>
      <label>${t("text or numbers")} <input value=${words} onInput=${(e) => setWords(e.target.value)} required /></label>
      <button class="main">${t("Write")}</button> <span role="status">${said}</span></form>`}
    <div class="scroll"><table class="registers"><caption class="hidden">${t("view registers")}</caption>
      <thead><tr>${["address", "reference", "name", "decimal", "hex", "text"].map((one) => html`<th scope="col">${t(one)}</th>`)}</tr></thead>
      <tbody>${found.values.map((value, index) => html`<tr key=${index}><th scope="row">${start + index}</th><td>${REFERENCE[space] + start + index}</td><td>${found.names[index]}</td>
        ${value < 0 ? html`<td colspan="3">02</td>` : html`<td>${value}</td><td>${value.toString(16).padStart(4, "0")}</td><td>${text(value)}</td>`}</tr>`)}</tbody>
    </table></div>`;
}
