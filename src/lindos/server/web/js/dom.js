// Making elements, and the icons.

const SHAPES = {
  panel: '<rect x="3.5" y="4.5" width="17" height="15" rx="3"/><path d="M9.5 4.5v15"/>',
  plus: '<path d="M12 5.5v13M5.5 12h13"/>',
  pen: '<path d="M12.5 5H7a2.5 2.5 0 0 0-2.5 2.5V17A2.5 2.5 0 0 0 7 19.5h9.5a2.5 2.5 0 0 0 2.5-2.5v-5.5"/><path d="m10 14 .6-2.7L18 4l2 2-7.3 7.4Z"/>',
  search: '<circle cx="11" cy="11" r="6"/><path d="m19.5 19.5-4.1-4.1"/>',
  keyboard: '<rect x="3" y="6" width="18" height="12" rx="2.5"/><path d="M7 10h.01M10.5 10h.01M14 10h.01M17.5 10h.01M8 14h8"/>',
  send: '<path d="M12 19V5.5M6 11.2l6-6 6 6"/>',
  stop: '<rect x="6" y="6" width="12" height="12" rx="2.5"/>',
  down: '<path d="M12 5v13.5M6 12.8l6 6 6-6"/>',
  copy: '<rect x="8.5" y="8.5" width="11" height="11" rx="2.5"/><path d="M15.5 8.5V7A2.5 2.5 0 0 0 13 4.5H7A2.5 2.5 0 0 0 4.5 7v6A2.5 2.5 0 0 0 7 15.5h1.5"/>',
  check: '<path d="m5.5 12.5 4.3 4.3 8.7-9.3"/>',
  again: '<path d="M19 12a7 7 0 1 1-2.1-5"/><path d="M19.2 3.8v4.4h-4.4"/>',
  left: '<path d="m14.5 6-6 6 6 6"/>',
  right: '<path d="m9.5 6 6 6-6 6"/>',
  more: '<path d="M6 12h.01M12 12h.01M18 12h.01" stroke-width="2.6"/>',
  trash: '<path d="M5 7h14M10 7V5h4v2M7 7l.8 12h8.4L17 7"/>',
  info: '<circle cx="12" cy="12" r="8"/><path d="M12 11.5v4.5M12 8.2h.01"/>',
  sun: '<circle cx="12" cy="12" r="3.6"/><path d="M12 3.5v2M12 18.5v2M3.5 12h2M18.5 12h2M6 6l1.4 1.4M16.6 16.6 18 18M18 6l-1.4 1.4M7.4 16.6 6 18"/>',
  moon: '<path d="M19.5 14.2A8 8 0 0 1 9.8 4.5a8 8 0 1 0 9.7 9.7Z"/>',
  chevron: '<path d="m6.5 9.5 5.5 5.5 5.5-5.5"/>',
  up: '<path d="m6.5 14.5 5.5-5.5 5.5 5.5"/>',
  out: '<path d="M9 5.5H7A2.5 2.5 0 0 0 4.5 8v9A2.5 2.5 0 0 0 7 19.5h9a2.5 2.5 0 0 0 2.5-2.5v-2M13 4.5h6.5V11M19 5l-8 8"/>',
  shield: '<path d="M12 3.8 18.5 6v5.6c0 4-2.7 7-6.5 8.6-3.8-1.6-6.5-4.6-6.5-8.6V6Z"/><path d="m9 11.8 2.2 2.2 3.9-4.2"/>',
  voice: '<path d="M5 6.8A2.3 2.3 0 0 1 7.3 4.5h9.4A2.3 2.3 0 0 1 19 6.8v6.4a2.3 2.3 0 0 1-2.3 2.3H12l-4.2 4v-4h-.5A2.3 2.3 0 0 1 5 13.2Z"/><path d="M9 10h.01M12 10h.01M15 10h.01"/>',
  settled: '<circle cx="12" cy="12" r="7.5"/><path d="m8.6 12.3 2.4 2.4 4.4-4.9"/>',
  conflict: '<path d="M4.5 9h12M13.5 5.5 17 9l-3.5 3.5M19.5 15.5h-12M10.5 12 7 15.5l3.5 3.5"/>',
  unknown: '<circle cx="12" cy="12" r="7.5"/><path d="M9.9 10.2a2.15 2.15 0 1 1 3.2 1.9c-.8.45-1.1.8-1.1 1.6M12 16.3h.01"/>',
  posts: '<path d="M4.5 12h3l2-6 4 12 2.4-6h3.6"/>',
  half: '<circle cx="12" cy="12" r="7.5"/><path d="M12 4.5a7.5 7.5 0 0 1 0 15Z" fill="currentColor"/>',
};

/** An icon by its name, as an element. */
export function icon(name) {
  const holder = document.createElement("template");
  holder.innerHTML = `<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">${SHAPES[name]}</svg>`;
  return holder.content.firstElementChild;
}

/** The Lindos mark, as an element. */
export function mark(className = "mark") {
  const holder = document.createElement("template");
  const inside = document.getElementById("mark").innerHTML;
  holder.innerHTML = `<svg class="${className}" viewBox="0 0 32 32" fill="none" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${inside}</svg>`;
  return holder.content.firstElementChild;
}

/**
 * An element: h("button", {class: "tool", onclick: f, "aria-label": "Copy"}, icon("copy")).
 * Properties that start with "on" become listeners; null and false leave an attribute out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (id) => document.getElementById(id);

/** Put icons into everything that names one with data-icon. */
export function placeIcons(root = document) {
  for (const holder of root.querySelectorAll("[data-icon]")) holder.replaceChildren(icon(holder.dataset.icon));
}

/** Put `name` as the icon of a button. */
export function setIcon(button, name) {
  if (button.dataset.icon === name) return;
  button.dataset.icon = name;
  button.replaceChildren(icon(name));
}

export const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
export const hasKeyboard = matchMedia("(hover: hover) and (pointer: fine)");
/**
 * Whether a key press in a text field means "send". On a phone's keyboard Enter is the only way to a new line; an
 * Enter that chooses a word of an input method is none of ours (Safari tells only by its old key code).
 */
export function sends(event) {
  const plain = event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.altKey;
  return plain && !composing(event) && hasKeyboard.matches;
}

/** Whether a key press belongs to an input method that composes a word. */
export function composing(event) {
  return event.isComposing || event.keyCode === 229;
}

export const isNarrow = matchMedia("(max-width: 820px)");

/** localStorage, where it is allowed. */
export const memory = {
  get(name) {
    try {
      return localStorage.getItem(`lindos.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`lindos.${name}`, value);
    } catch {
      // Then it is forgotten with the page.
    }
  },
};

/** Copy text; resolves to whether it worked. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https, and not on this machine, browsers have only the old way.
    const field = h("textarea", { class: "hidden", "aria-hidden": "true" });
    field.value = text;
    const before = document.activeElement;
    document.body.append(field);
    field.select();
    const worked = document.execCommand("copy");
    field.remove();
    before?.focus();
    return worked;
  }
}
