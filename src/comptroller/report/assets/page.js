const tip = document.getElementById("tip");
const panels = JSON.parse(document.getElementById("panels").textContent);
function tell(head, words, place) {
  tip.querySelector("b").textContent = head;
  tip.querySelector("span").textContent = words;
  tip.hidden = false;
  place(tip.getBoundingClientRect());
}
function move(left, top) {
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${top + scrollY}px`;
}
function hide() {
  tip.hidden = true;
  for (const hair of document.querySelectorAll(".hair")) hair.setAttribute("visibility", "hidden");
}
function show(point) {
  const dot = point.querySelector(".dot").getBoundingClientRect();
  tell(point.dataset.head, point.dataset.words, (box) => {
    const left = Math.min(Math.max(8, dot.left + dot.width / 2 - box.width / 2), innerWidth - box.width - 8);
    const above = dot.top - box.height - 10;
    move(left, above > 8 ? above : dot.bottom + 10);
  });
}
for (const point of document.querySelectorAll(".point")) {
  point.addEventListener("pointerenter", () => show(point));
  point.addEventListener("focus", () => show(point));
  point.addEventListener("pointerleave", hide);
  point.addEventListener("blur", hide);
  point.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const next = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    const other = next && point[next];
    if (other && other.classList.contains("point")) { event.preventDefault(); other.focus(); }
  });
}
const moving = [...document.querySelectorAll("svg[data-panel]")];
let at = 0;
function read(index, chart) {
  const panel = panels[chart.dataset.panel];
  const last = panel.moments.length - 1;
  const share = (at = Math.min(Math.max(index, 0), last)) / last;
  const across = (each) => Number(each.dataset.left) + share * (each.dataset.right - each.dataset.left);
  for (const each of moving) {
    const hair = each.querySelector(".hair");
    for (const end of ["x1", "x2"]) hair.setAttribute(end, across(each));
    hair.removeAttribute("visibility");
  }
  const words = panel.lines.map((line) => `${line.name}: ${line.words[at]}`);
  const frame = chart.getBoundingClientRect();
  const centre = frame.left + (across(chart) / chart.viewBox.baseVal.width) * frame.width;
  tell(`${panel.title} at ${panel.moments[at]}`, words.join("\n"), (box) => {
    const side = centre + box.width + 24 < innerWidth ? centre + 12 : centre - box.width - 12;
    move(Math.max(8, side), frame.top + 8);
  });
  chart.setAttribute("aria-valuenow", at);
  chart.setAttribute("aria-valuetext", `${panel.moments[at]}: ${words.join(", ")}`);
}
for (const chart of moving) {
  const last = panels[chart.dataset.panel].moments.length - 1;
  const { left, right } = chart.dataset;
  chart.addEventListener("pointermove", (event) => {
    const frame = chart.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * chart.viewBox.baseVal.width;
    read(Math.round(((x - left) / (right - left)) * last), chart);
  });
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("focus", () => read(at, chart));
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -last, End: last }[event.key];
    if (step) { event.preventDefault(); read(at + step, chart); }
    if (event.key === "Escape") hide();
  });
}
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
