// Name and password, where one is set.
import { useState } from "preact/hooks";
import { ask, enter } from "../api.js";
import { html } from "../html.js";
import { t } from "../words.js";

export function SignIn() {
  const [wrong, setWrong] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    try {
      await ask("POST", "login", { name: form.get("name"), password: form.get("password") });
      await enter();
    } catch (problem) {
      setWrong(problem.message);
    }
  };
  return html`<main class="signin"><form onSubmit=${submit}>
    <h1>vdevice</h1>
    <label>${t("Name")}<input name="name" autocomplete="username" value="admin" required /></label>
    <label>${t("Password")}<input name="password" type="password" autocomplete="current-password" required autofocus /></label>
    <p class="problem" role="alert">${wrong}</p>
    <button class="main">${t("Sign in")}</button>
  </form></main>`;
}
