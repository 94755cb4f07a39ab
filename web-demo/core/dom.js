// Building and filling elements. Text only: what agents send is never taken for markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with properties and children. `class`, `aria-*`, `data-*` and other names with a dash are attributes,
 * `on…` are listeners, `vars` are custom properties of CSS; the rest are properties. Children that are null or false are
 * left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") element.className = value;
    else if (name === "vars") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || ["role", "for", "list", "open"].includes(name)) {
      if (value !== false) element.setAttribute(name, value === true ? "" : value);
    } else element[name] = value;
  }
  element.append(...flat(children));
  return element;
}

/** An SVG element; everything is an attribute. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...flat(children));
  return element;
}

const flat = (children) =>
  children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

/** Puts children in the place of all that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

/**
 * The same, keeping the focus and the caret where they were: what had the focus is found again by its `data-key`.
 * For parts that are drawn anew while somebody may be using them.
 */
export function refill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  fill(element, ...children);
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  return element;
}

/** A live region says this once to a screen reader. */
export function announce(text) {
  const region = document.getElementById("announcements");
  if (region && text) fill(region, h("p", {}, text));
}

/** A stroke icon of 24 units by its path. */
export function icon(name) {
  return svg(
    "svg",
    { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: ICONS[name] }),
  );
}

const ICONS = {
  pause: "M9 5v14M15 5v14",
  play: "M8 5l11 7-11 7z",
  next: "M6 5l8 7-8 7zM18 5v14",
  again: "M4 12a8 8 0 1 0 2.5-5.8M4 4v4h4",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M6 6l12 12M18 6L6 18",
  plug: "M9 3v5M15 3v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v4",
  flag: "M6 21V4h11l-2 4 2 4H6",
  lock: "M7 11V8a5 5 0 0 1 10 0v3M5 11h14v9H5z",
  back: "M15 5l-7 7 7 7",
  send: "M4 12l16-7-5 15-3.5-6z",
  clock: "M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16M12 8v4.5l3 1.8",
  spark: "M12 3v5M12 16v5M3 12h5M16 12h5",
};
