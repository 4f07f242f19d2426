const lines = JSON.parse(document.getElementById("lines").textContent);
const charts = [...document.querySelectorAll("svg[data-panel]")];
const last = lines.clock.length - 1;
let at = 0;
function show(index, chart) {
  at = Math.min(Math.max(index, 0), last);
  const x = lines.left + (at / last) * (lines.right - lines.left);
  for (const each of charts) {
    const hair = each.querySelector(".hair");
    hair.setAttribute("x1", x);
    hair.setAttribute("x2", x);
    hair.removeAttribute("visibility");
  }
  const panel = lines.panels[chart.dataset.panel];
  const words = panel.lines.map((line) => `${line.name}: ${line.words[at]}`);
  tip.querySelector("b").textContent = `${panel.name} at ${lines.clock[at]}`;
  tip.querySelector("span").textContent = words.join("\n");
  tip.querySelector("span").style.whiteSpace = "pre";
  tip.hidden = false;
  const frame = chart.getBoundingClientRect();
  const box = tip.getBoundingClientRect();
  const centre = frame.left + (x / chart.viewBox.baseVal.width) * frame.width;
  const side = centre + box.width + 24 < innerWidth ? centre + 12 : centre - box.width - 12;
  tip.style.left = `${Math.max(8, side) + scrollX}px`;
  tip.style.top = `${frame.top + 8 + scrollY}px`;
  chart.setAttribute("aria-valuetext", `${lines.clock[at]}: ${words.join(", ")}`);
}
function hide() {
  tip.hidden = true;
  for (const each of charts) each.querySelector(".hair").setAttribute("visibility", "hidden");
}
const tip = document.getElementById("tip");
for (const chart of charts) {
  chart.addEventListener("pointermove", (event) => {
    const frame = chart.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * chart.viewBox.baseVal.width;
    show(Math.round(((x - lines.left) / (lines.right - lines.left)) * last), chart);
  });
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("focus", () => show(at, chart));
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -last, End: last }[event.key];
    if (step) { event.preventDefault(); show(at + step, chart); }
    if (event.key === "Escape") hide();
  });
}
