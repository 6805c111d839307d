// All texts of the page, in the browser's language; `t(key, …)` puts values in the place of {0}, {1}.
import { de } from "./texts/de.js";
import { en } from "./texts/en.js";

export const language = navigator.language.toLowerCase().startsWith("de") ? "de" : "en";
const texts = language === "de" ? de : en;
document.documentElement.lang = language;

export function t(key, ...values) {
  const text = texts[key] ?? en[key] ?? key;
  return text.replace(/\{(\d)\}/g, (_, index) => values[index]);
}

export const number = new Intl.NumberFormat(language);
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(language, { dateStyle: "short", timeStyle: "medium", hourCycle: "h23" });

// A moment in UTC seconds: the time if it is today's, else with its date.
export function moment(seconds) {
  if (!seconds) return "";
  const date = new Date(seconds * 1000);
  return (date.toDateString() === new Date().toDateString() ? clock : day).format(date);
}
