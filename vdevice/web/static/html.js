// Markup in JavaScript: htm bound to Preact, once for all views.
import { h } from "preact";
import htm from "htm";

export const html = htm.bind(h);
