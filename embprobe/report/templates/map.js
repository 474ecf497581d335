// What is looked at, and what a pointer, a finger or a key does to it.

const view = { hover: -1, pinned: -1, label: -1, only: -1, zoom: 1 };
const colors = 7;
const element = (name) => document.getElementById(name);
const panels = Array.from(document.querySelectorAll("#panels canvas"), (canvas, i) => new Panel(canvas, encoders[i]));

function make(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

let waiting = false;
let stale = true;
function redraw(base) {
  stale ||= base;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const all = stale;
    stale = false;
    for (const panel of panels) {
      if (panel.measure() || all) panel.drawBase();
      panel.draw();
    }
  });
}

function tell(i) {
  const told = [make("p", "", make("bdi", data.names[i])), make("p", "", make("bdi", data.keys[i]))];
  for (const label of labels) told.push(make("p", `${label.name}: `, make("bdi", label.values[label.codes[i]])));
  element("shown").replaceChildren(thumbnail(i, 160), make("div", "", ...told));
}

function look(i) {
  if (i === view.hover) return;
  view.hover = i;
  const shown = i >= 0 ? i : view.pinned;
  if (shown >= 0) tell(shown);
  redraw(false);
}

function pin(i) {
  view.pinned = i;
  view.hover = -1;
  center();
  element("unpin").disabled = i < 0;
  element("neighbors").replaceChildren(...(i < 0 ? [] : encoders.map((encoder) => neighborList(encoder, i))));
  if (i >= 0) tell(i);
  redraw(view.zoom > 1);
}

function neighborList(encoder, i) {
  const list = make("ol", "");
  const others = encoders.filter((each) => each !== encoder);
  for (const { at, cosine } of neighborsOf(encoder, i)) {
    const all = others.length && others.every((each) => neighborsOf(each, i).some((found) => found.at === at));
    const button = make("button", "", thumbnail(at, 64), make("bdi", data.names[at]), make("span", cosine.toFixed(2)));
    button.type = "button";
    button.className = all ? "shared" : "";
    button.title = all ? "Among the nearest of every encoder" : "";
    button.addEventListener("click", () => pin(at));
    list.append(make("li", "", button));
  }
  return make("section", "", make("h3", "Nearest by ", make("bdi", encoder.name)), list);
}

function center() {
  for (const panel of panels) {
    const free = view.zoom === 1 || view.pinned < 0;
    panel.center = free ? [0.5, 0.5] : [panel.x[view.pinned], panel.y[view.pinned]];
  }
}

function zoom(factor) {
  const before = view.zoom;
  view.zoom = Math.max(1, Math.min(64, before * factor));
  if (view.pinned < 0 && view.hover >= 0) pin(view.hover);
  else if (before === 1 || view.zoom === 1) center(); // else they stay where they were dragged
  element("panels").classList.toggle("zoomed", view.zoom > 1);
  element("zoom-out").disabled = view.zoom === 1;
  redraw(true);
}

function paint() {
  view.label = Number(element("colour").value);
  view.only = -1;
  const label = labels[view.label];
  const legend = label ? label.values.map((value, code) => legendEntry(label, value, code)) : [];
  element("legend").replaceChildren(...legend);
  redraw(true);
}

function legendEntry(label, value, code) {
  const swatch = make("i", "");
  swatch.style.background = `var(${code < colors ? `--look-${code}` : "--rest"})`;
  const button = make("button", "", swatch, make("bdi", value), make("span", label.counts[code].toLocaleString("en")));
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    view.only = view.only === code ? -1 : code;
    for (const [i, each] of [...element("legend").children].entries()) {
      each.setAttribute("aria-pressed", String(i === view.only));
    }
    redraw(true);
  });
  return button;
}

function search() {
  const found = find(element("search").value);
  const shown = found.slice(0, 12);
  const asked = element("search").value.trim() !== "";
  element("found").textContent = !asked ? "" : shown.length < found.length ? `${shown.length} of ${found.length} found` : `${found.length} found`;
  element("matches").replaceChildren(
    ...shown.map((i) => {
      const button = make("button", "", thumbnail(i, 40), make("bdi", data.names[i]));
      button.type = "button";
      button.addEventListener("click", () => pin(i));
      return make("li", "", button);
    }),
  );
  return found;
}

function listen(panel) {
  const { canvas } = panel;
  const under = (event, radius) => {
    const box = canvas.getBoundingClientRect();
    return panel.hit(event.clientX - box.left, event.clientY - box.top, radius);
  };
  let held = null; // where the mouse took hold of a zoomed map, and whether it has dragged it since
  canvas.addEventListener("pointerdown", (event) => {
    const holds = event.pointerType === "mouse" && event.button === 0 && view.zoom > 1;
    held = holds ? { x: event.clientX, y: event.clientY, dragged: false } : null;
    if (holds) canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse") return;
    if (!held || !event.buttons) return look(under(event, 10));
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    if (!held.dragged && Math.hypot(dx, dy) < 4) return; // a hand that trembles while it clicks
    held = { x: event.clientX, y: event.clientY, dragged: true };
    panel.drag(dx, dy);
    redraw(true);
  });
  canvas.addEventListener("pointerleave", () => look(-1));
  canvas.addEventListener("click", (event) => {
    if (held?.dragged) return;
    const found = under(event, 24);
    if (found >= 0) pin(found);
  });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const current = view.hover >= 0 ? view.hover : view.pinned;
    if (way) {
      const next = current < 0 ? panel.hit(panel.size / 2, panel.size / 2, panel.size) : panel.beside(current, ...way);
      if (next >= 0) look(next);
    } else if (event.key === "Enter" && current >= 0) pin(current);
    else if (event.key === "Escape") pin(-1);
    else if (event.key === "+") zoom(2);
    else if (event.key === "-") zoom(0.5);
    else return;
    event.preventDefault();
  });
}

element("colour").addEventListener("change", paint);
element("search").addEventListener("input", search);
element("search").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  const [first] = search();
  if (first !== undefined) pin(first);
});
element("zoom-in").addEventListener("click", () => zoom(2));
element("zoom-out").addEventListener("click", () => zoom(0.5));
element("unpin").addEventListener("click", () => pin(-1));
for (const panel of panels) {
  panel.measure(); // a key may come before the first frame
  listen(panel);
}
new ResizeObserver(() => redraw(false)).observe(element("panels"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(true));
element("map-controls").hidden = false;
paint();
