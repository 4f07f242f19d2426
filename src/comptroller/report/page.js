const tip = document.getElementById("tip");
function show(point) {
  tip.querySelector("b").textContent = point.dataset.head;
  tip.querySelector("span").textContent = point.dataset.fleet;
  tip.hidden = false;
  const dot = point.querySelector(".dot").getBoundingClientRect();
  const box = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, dot.left + dot.width / 2 - box.width / 2), innerWidth - box.width - 8);
  const above = dot.top - box.height - 10;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 8 ? above : dot.bottom + 10) + scrollY}px`;
}
function hide() { tip.hidden = true; }
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
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
