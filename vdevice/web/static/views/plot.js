// A small curve of the last hour.
import { html } from "../html.js";
import { number } from "../words.js";

export function Plot({ title, values }) {
  const most = Math.max(...values, 1);
  const path = values.map((value, index) => `${index ? "L" : "M"}${(index / Math.max(values.length - 1, 1)) * 300} ${60 - (value / most) * 56}`).join("");
  const last = values.at(-1) ?? 0;
  return html`<figure><figcaption>${title}: <b>${number.format(last)}</b> (max ${number.format(most)})</figcaption>
    <svg viewBox="0 0 300 62" preserveAspectRatio="none" role="img" aria-label="${title}: ${last}"><path d=${path} /></svg></figure>`;
}
