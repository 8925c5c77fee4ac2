"use strict";
// Sorting: a click or a key on a header's button sorts by its column; a second one turns the order round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const header = button.closest("th");
    const table = header.closest("table");
    const column = [...header.parentNode.children].indexOf(header);
    const numbers = header.classList.contains("number");
    const before = header.getAttribute("aria-sort");
    const up = before ? before === "descending" : !header.hasAttribute("data-down");
    const key = (row) => row.children[column].getAttribute("data-sort");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const x = key(a), y = key(b);
      if (x === null || y === null) return (x === null) - (y === null);
      const order = numbers ? x - y : x.localeCompare(y, undefined, { numeric: true });
      return up ? order : -order;
    });
    table.tBodies[0].append(...rows);
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
  });
}

// A point of the figure tells its row, under the pointer and under the keyboard.
const tip = document.getElementById("tip");
let shown = null;

function hide() {
  if (!shown) return;
  shown.point.classList.remove("on");
  shown.row.classList.remove("on");
  tip.hidden = true;
  shown = null;
}

function show(point) {
  if (shown && shown.point === point) return;
  hide();
  const row = document.getElementById("row-" + point.getAttribute("data-point"));
  if (!row) return;
  const lines = [...row.querySelectorAll("[data-tip]")].map((cell) => {
    const line = document.createElement("div");
    const name = document.createElement("span");
    const value = document.createElement("b");
    name.textContent = cell.getAttribute("data-tip");
    value.textContent = cell.getAttribute("data-value");
    line.append(name, value);
    return line;
  });
  const title = document.createElement("strong");
  title.textContent = row.getAttribute("data-name");
  tip.replaceChildren(title, ...lines);
  tip.hidden = false;
  shown = { point, row };
  point.classList.add("on");
  row.classList.add("on");
  const at = point.getBoundingClientRect();
  const size = tip.getBoundingClientRect();
  const wide = document.documentElement.clientWidth;
  const under = at.width > 200 || wide < 740;  // no room beside it: below, or above where below is no room either
  const left = under ? at.left + at.width / 2 - size.width / 2 : at.right + 12;
  const flipped = left + size.width > wide - 8 ? at.left - size.width - 12 : left;
  const fits = at.bottom + 10 + size.height < window.innerHeight - 8;
  const below = under ? (fits ? at.bottom + 10 : at.top - 10 - size.height) : at.top + at.height / 2 - size.height / 2;
  tip.style.left = Math.max(8, Math.min(flipped, wide - size.width - 8)) + "px";
  tip.style.top = Math.max(8, Math.min(below, window.innerHeight - size.height - 8)) + "px";
}

for (const image of document.querySelectorAll(".points svg")) {
  const points = [...image.querySelectorAll(".point")];
  const byName = new Map(points.map((point) => [point.getAttribute("data-point"), point]));
  image.addEventListener("pointermove", (event) => {
    const label = event.target.closest("[data-label]");
    let nearest = label && byName.get(label.getAttribute("data-label"));
    let least = 12;
    if (!nearest) {
      for (const point of points) {
        const at = point.getBoundingClientRect();
        const x = Math.max(at.left - event.clientX, event.clientX - at.right, 0);
        const y = Math.max(at.top - event.clientY, event.clientY - at.bottom, 0);
        const middle = Math.hypot(event.clientX - (at.left + at.right) / 2, event.clientY - (at.top + at.bottom) / 2);
        const away = Math.hypot(x, y) + Math.min(middle, 100) / 100;
        if (away < least) [nearest, least] = [point, away];
      }
    }
    if (nearest) show(nearest); else hide();
  });
  image.addEventListener("pointerleave", hide);
  image.addEventListener("focusin", (event) => show(event.target.closest(".point")));
  image.addEventListener("focusout", hide);
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
window.addEventListener("scroll", hide, { passive: true });

// The command, copied; where the browser refuses, marked, so that it can be copied by hand.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = document.getElementById(button.getAttribute("data-copy"));
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "marked";
    }
    setTimeout(() => { button.textContent = "copy"; }, 1600);
  });
}
