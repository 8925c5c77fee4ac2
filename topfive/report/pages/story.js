// All of it: what is drawn when, in which language, and what the controls do.
// ---- all of it
const lazy = { timeline, networks: networkView, field: () => { field(); passed(); effective(); }, ideas, side, comparison };
const drawn = new Set(), near = new Set();  // near: in the window, or soon
function need(key) {
  if (drawn.has(key)) return;
  drawn.add(key);
  lazy[key]();
}
function drawAbove(target) {  // before a jump: what is drawn on the way would move the place that it leads to
  for (const key of Object.keys(lazy)) {
    if ($(key).compareDocumentPosition(target) & Node.DOCUMENT_POSITION_FOLLOWING) need(key);
  }
}
function speak(chosen) {
  root.lang = chosen;
  for (const one of document.querySelectorAll(".languages button")) one.setAttribute("aria-pressed", one.dataset.language === chosen);
  document.title = "topfive: " + t("title");
  waiting = [...drawn].filter((key) => !near.has(key));
  for (const key of waiting) drawn.delete(key);
  for (const key of drawn) lazy[key]();
  setTimeout(later);
}
let waiting = [];  // drawn in the other language; why not at once: all together would make the reader wait
function later() {
  if (!waiting.length) return;
  need(waiting.shift());
  setTimeout(later, 50);
}
function options(id, chosen) {
  const families = new Map();
  for (const one of data.story.networks) {
    const family = one === model?.network ? t("yours") : one.source.family;
    families.set(family, [...(families.get(family) || []), one]);
  }
  $(id).replaceChildren(...[...families].map(([family, found]) => el("optgroup", { label: family },
    ...found.map((one) => el("option", { value: one.name, selected: one.name === chosen }, called(one.name))))));
}
for (const one of document.querySelectorAll(".languages button")) one.addEventListener("click", () => speak(one.dataset.language));
$("points").open = root.clientWidth > 736;  // a phone has the figure first
for (const one of document.querySelectorAll("[data-network]")) one.addEventListener("click", () => chooseNetwork(one.dataset.network, true));
if (model) Object.assign(state, { network: model.network.name, row: model.network.stages[0][0] });
if (model) middle();
options("network", state.network);
options("one", state.one);
options("two", state.two);
$("network").addEventListener("change", (event) => chooseNetwork(event.target.value, false));
$("row").addEventListener("change", (event) => chooseRow(event.target.value));
for (const id of ["one", "two"]) $(id).addEventListener("change", (event) => { state[id] = event.target.value; state.inner = ""; side(); });
$("down").addEventListener("input", (event) => unit(+event.target.value, state.x));
$("across").addEventListener("input", (event) => unit(state.y, +event.target.value));
$("file").addEventListener("change", (event) => take(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  $("field-figure").addEventListener(kind, (event) => {
    event.preventDefault();
    $("field-figure").classList.toggle("drop", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link) drawAbove($(link.hash.slice(1)));
});
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    near[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    if (entry.isIntersecting) need(entry.target.id);
  }
}, { rootMargin: "600px" });
for (const key of Object.keys(lazy)) watch.observe($(key));
window.addEventListener("beforeprint", () => Object.keys(lazy).forEach(need));
let width = root.clientWidth;
window.addEventListener("resize", () => {
  if (width === root.clientWidth) return;
  width = root.clientWidth;
  for (const key of ["timeline", "comparison"]) if (drawn.has(key)) lazy[key]();
});
speak(root.lang);
const start = $(location.hash.slice(1));
if (start) {
  drawAbove(start);
  start.scrollIntoView({ behavior: "instant" });
}
