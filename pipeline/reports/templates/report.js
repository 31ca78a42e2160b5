"use strict";
// Pictures open in a dialog: the browser closes it on Escape and gives the focus back.
const dialog = document.querySelector("dialog");
const view = dialog.querySelector(".view");
const shown = view.querySelector("img");
const told = dialog.querySelector(".told");
let scale = 1;

// A picture that is smaller than the window is enlarged by a whole factor: its pixels stay squares, its letters sharp.
function fitting() {
  const fit = Math.min(view.clientWidth / shown.naturalWidth, view.clientHeight / shown.naturalHeight) || 1;
  return fit < 1 ? fit : Math.min(8, Math.floor(fit));
}

function show(wanted) {
  const before = shown.width || 1;
  const centre = [(view.scrollLeft + view.clientWidth / 2) / before, (view.scrollTop + view.clientHeight / 2) / before];
  scale = Math.min(8, Math.max(fitting(), wanted));
  shown.width = Math.round(shown.naturalWidth * scale);
  view.scrollLeft = centre[0] * shown.width - view.clientWidth / 2;
  view.scrollTop = centre[1] * shown.width - view.clientHeight / 2;
  dialog.querySelector(".scale").textContent = Math.round(scale * 100) + " %";
}

for (const button of document.querySelectorAll("button.zoom")) {
  button.addEventListener("click", () => {
    const picture = button.querySelector("img");
    shown.src = picture.src;
    shown.alt = picture.alt;
    told.textContent = picture.alt;
    dialog.showModal();
    view.focus();
    shown.decode().then(() => show(fitting()));
  });
}

const acts = { larger: () => show(scale * 1.5), smaller: () => show(scale / 1.5), fit: () => show(fitting()), close: () => dialog.close() };
for (const button of dialog.querySelectorAll("button")) button.addEventListener("click", acts[button.value]);
const keys = { "+": "larger", "=": "larger", "-": "smaller", "0": "fit" };
dialog.addEventListener("keydown", (event) => {
  if (event.key in keys && !event.ctrlKey && !event.metaKey) { event.preventDefault(); acts[keys[event.key]](); }
});
dialog.addEventListener("close", () => { shown.removeAttribute("src"); shown.removeAttribute("width"); });

let from = null;
view.addEventListener("pointerdown", (event) => {
  if (event.pointerType === "mouse") { from = [event.clientX + view.scrollLeft, event.clientY + view.scrollTop]; view.setPointerCapture(event.pointerId); event.preventDefault(); view.focus(); }
});
view.addEventListener("pointermove", (event) => {
  if (from) { view.scrollLeft = from[0] - event.clientX; view.scrollTop = from[1] - event.clientY; }
});
for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, () => { from = null; });

// What is folded away on the screen is there on paper.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => { for (const part of opened) part.open = false; });
