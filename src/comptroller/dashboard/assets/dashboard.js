const tip = document.getElementById("tip");
function show(point) {
  tip.querySelector("b").textContent = point.dataset.head;
  tip.querySelector("span").textContent = point.dataset.words;
  tip.hidden = false;
  const dot = point.querySelector(".dot").getBoundingClientRect();
  const box = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, dot.left + dot.width / 2 - box.width / 2), innerWidth - box.width - 8);
  const above = dot.top - box.height - 10;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 8 ? above : Math.min(dot.bottom + 10, innerHeight - box.height - 8)) + scrollY}px`;
}
const hide = () => { tip.hidden = true; };
const pointOf = (event) => event.target.closest && event.target.closest(".point");
for (const [name, act] of [["pointerover", show], ["focusin", show], ["pointerout", hide], ["focusout", hide]]) {
  document.addEventListener(name, (event) => { const point = pointOf(event); if (point) act(point); });
}
document.addEventListener("keydown", (event) => {
  const point = pointOf(event);
  if (!point) return;
  if (event.key === "Escape") hide();
  const other = { ArrowRight: point.nextElementSibling, ArrowLeft: point.previousElementSibling }[event.key];
  if (other && other.classList.contains("point")) { event.preventDefault(); other.focus(); }
});
// a search that was asked for by its button: the same element that a page has whose search begins by itself
document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest("button[data-search]");
  if (!button) return;
  const place = button.parentElement;
  place.setAttribute("hx-ext", "sse");
  place.setAttribute("sse-connect", button.dataset.search);
  place.setAttribute("sse-close", "end");
  place.innerHTML = '<p role="status">Searching and proving: <span sse-swap="phase">starting</span> …</p><div sse-swap="answer"></div><div sse-swap="end"></div>';
  htmx.process(place);
});
// what could not be had is said where it was asked for, and asked for again
for (const name of ["htmx:responseError", "htmx:sendError"]) {
  document.addEventListener(name, (event) => {
    const panel = event.detail.elt.closest("section");
    if (!panel) return;
    const status = event.detail.xhr && event.detail.xhr.status;
    const note = panel.querySelector(".lost") || panel.insertBefore(document.createElement("p"), panel.children[2] || null);
    note.className = "note lost";
    note.setAttribute("role", "status");
    note.textContent = status ? `The server answered ${status}; its log says why.` : "The server does not answer.";
    panel.removeAttribute("aria-busy");
  });
}
// nobody looks: ask for nothing; somebody reads a point or a table: leave the panel as it is
document.addEventListener("htmx:beforeRequest", (event) => { if (document.hidden) event.preventDefault(); });
document.addEventListener("htmx:beforeSwap", (event) => {
  const panel = event.target.closest && event.target.closest("section[hx-trigger^='every']");
  const held = panel && (panel.querySelector("details[open]") || (panel.contains(document.activeElement) && document.activeElement.closest(".point, summary, table")));
  if (held && event.detail.requestConfig.elt === panel) event.detail.shouldSwap = false;
});
