// A context menu: arrows, Home, End, Enter and Esc; a click elsewhere closes it.
import { useEffect, useRef } from "preact/hooks";
import { html } from "../html.js";
import { t } from "../words.js";

export function Menu({ at, actions, close }) {
  const menu = useRef();
  const items = () => [...menu.current.querySelectorAll("button:not(:disabled)")];
  useEffect(() => {
    const box = menu.current.getBoundingClientRect();
    menu.current.style.left = `${Math.min(at.x, innerWidth - box.width - 8)}px`;
    menu.current.style.top = `${Math.min(at.y, innerHeight - box.height - 8)}px`;
    items()[0]?.focus();
    const outside = (event) => { if (!menu.current?.contains(event.target)) close(); };
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, []);
  const keys = (event) => {
    const all = items();
    const index = all.indexOf(document.activeElement);
    const next = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next !== undefined) all[(next + all.length) % all.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<div class="menu" role="menu" aria-label=${t("Actions")} ref=${menu} onKeyDown=${keys}>
    ${actions.map(([name, key, act, enabled]) => html`<button role="menuitem" tabindex="-1" disabled=${!enabled}
      onClick=${() => { close(); act(); }}><span>${t(name)}</span><kbd>${key}</kbd></button>`)}
  </div>`;
}
