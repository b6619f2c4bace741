// Dark or light: as the system has it, or as chosen.

import { $, icon, memory } from "./dom.js";

const CHOICES = [
  { name: "auto", words: "Theme: system", icon: "half" },
  { name: "light", words: "Theme: light", icon: "sun" },
  { name: "dark", words: "Theme: dark", icon: "moon" },
];
const system = matchMedia("(prefers-color-scheme: dark)");

function chosen() {
  return CHOICES.find((choice) => choice.name === memory.get("theme")) ?? CHOICES[0];
}

function apply() {
  const choice = chosen();
  const dark = choice.name === "dark" || (choice.name === "auto" && system.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").replaceChildren(icon(choice.icon), choice.words);
}

/** Keep the theme as chosen, and let the button change it. */
export function startTheme() {
  apply();
  system.addEventListener("change", apply);
  $("theme").addEventListener("click", () => {
    const next = CHOICES[(CHOICES.indexOf(chosen()) + 1) % CHOICES.length];
    memory.set("theme", next.name);
    apply();
  });
}
