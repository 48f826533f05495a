/**
 * Building and updating DOM. Nothing here parses markup: text becomes text nodes and attributes go
 * through setAttribute, so whatever a title or a name contains stays text.
 */

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = Symbol("properties");
const LIVE = ["checked", "value", "disabled"]; // attributes whose property goes its own way

/**
 * Makes an HTML element. `on…` are handlers, `vars` are custom properties of its style, `props` are
 * set as they are, all else are attributes; null, undefined and false leave one out.
 */
export function h(tag, given = {}, ...children) {
  return build(document.createElement(tag), given, children);
}

/** The same for SVG. */
export function svg(tag, given = {}, ...children) {
  return build(document.createElementNS(SVG, tag), given, children);
}

function build(element, { vars = {}, props = {}, ...given }, children) {
  const properties = { ...props };
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) properties[name] = value ?? null;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  for (const [name, value] of Object.entries(vars)) element.style.setProperty(name, value);
  element[PROPERTIES] = Object.assign(element, properties) && properties;
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child != null && child !== false && child !== "");
}

/**
 * Makes the children of `target` equal to `children` while keeping the nodes that are there, so
 * that focus, scrolling and running transitions survive. `data-key` names a child that may move.
 */
export function render(target, ...children) {
  const scratch = document.createDocumentFragment();
  scratch.append(...nodes(children));
  patchChildren(target, scratch);
}

function patchChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let here = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const match = wanted.dataset?.key ? keyed.get(wanted.dataset.key) : here;
    if (match && alike(match, wanted)) {
      if (match === here) here = here.nextSibling;
      else old.insertBefore(match, here);
      patch(match, wanted);
    } else {
      old.insertBefore(wanted, here);
      if (here && !here.dataset?.key) here = remove(here);
    }
  }
  while (here) here = remove(here);
}

function remove(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function alike(a, b) {
  return a.nodeName === b.nodeName && a.dataset?.key === b.dataset?.key;
}

function patch(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  const ownsItself = old.localName.includes("-"); // a custom element draws and marks itself
  if (!ownsItself) dropAttributes(old, fresh);
  takeAttributes(old, fresh);
  for (const name of Object.keys(old[PROPERTIES] ?? {})) {
    if (!(name in (fresh[PROPERTIES] ?? {}))) old[name] = null;
  }
  old[PROPERTIES] = Object.assign(old, fresh[PROPERTIES]) && fresh[PROPERTIES];
  if (!ownsItself) patchChildren(old, fresh);
}

/** `open` belongs to the person who opened it; `style` may be written through the CSSOM alone. */
function dropAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open" && name !== "style") old.removeAttribute(name);
  }
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
}

function takeAttributes(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of LIVE) {
    if (name in fresh && old[name] !== fresh[name]) old[name] = fresh[name];
  }
}
