// The timeline, and one network: its facts, drawing, rows and printed numbers.
// ---- timeline
const HALO = "paint-order:stroke;stroke:var(--page);stroke-width:4px";  // keeps letters legible on lines
function timeline() {
  const years = data.story.years, width = Math.max(320, $("timeline-figure").clientWidth), height = 330;
  const step = (width - 40) / years.length, size = step > 45 ? 13 : 11, most = Math.max(...years.map((year) => year.error));
  const y = (error) => 292 - 250 * error / most;
  const marks = years.map((year, i) => {
    const x = 34 + i * step, wide = Math.min(step * 0.62, 70);
    const kind = t(year.shallow ? "shallow" : "deep") + (year.shallow ? "" : ", " + t("ensemble"));
    const beside = x + (step > 45 ? wide + 9 : (wide + step) / 2), chosen = year.year === state.year;
    const ring = [];
    if (year.single !== null) {
      const look = { r: step > 45 ? 5 : 4, fill: "var(--page)", stroke: "currentColor", "stroke-width": 2 };
      ring.push(draw("circle", { cx: beside, cy: y(year.single), ...look }));
      if (step > 80) ring.push(words(beside + 9, y(year.single) + 4, 12, `${year.single}`));
    }
    return mark(`${year.year}: ${year.entry}, ${percent(year.error)}, ${kind}`, () => chooseYear(year.year),
      draw("rect", { x, y: y(year.error), width: wide, height: 292 - y(year.error), "stroke-width": chosen ? 3 : 0,
        stroke: "currentColor", fill: year.shallow ? "var(--shallow)" : "var(--deep)" }),
      words(x + wide / 2, y(year.error) - 6, size, `${year.error}`, { "text-anchor": "middle", "font-weight": 600, style: HALO }),
      words(x + wide / 2, 310, size, `${year.year}`, { "text-anchor": "middle" }), ...ring);
  });
  const person = y(data.story.human);
  const dashes = { stroke: "currentColor", "stroke-dasharray": "4 3" };
  show("timeline-figure",
    draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("timeline_label") },
      words(0, 14, 13, t("timeline_label")),
      draw("line", { x1: 24, x2: width, y1: 292, y2: 292, class: "axis" }),
      draw("line", { x1: 24, x2: width, y1: person, y2: person, ...dashes }), ...marks,
      words(0, person + 4, 12, `${data.story.human}`)),
    el("figcaption", {}, ...keyed("var(--shallow)", t("shallow")), ...keyed("var(--deep)", `${t("deep")}, ${t("ensemble")}`),
      el("span", { class: "entry" }, `○ ${t("single")}`), " ", el("span", { class: "entry" }, `┄ ${t("person", { error: data.story.human })}`)));
  yearPanel(years.find((year) => year.year === state.year));
}
function yearPanel(year) {
  const lines = [el("p", {}, el("strong", {}, `${year.year}: ${year.entry}`),
    ` · ${t("top5_error")} ${percent(year.error)} · ${told(year.method)}`)];
  if (year.note) lines.push(el("p", {}, told(year.note)));
  if (year.single !== null) {
    lines.push(el("p", {}, t("single_of", { network: year.network, error: year.single, protocol: year.single_protocol })));
  }
  if (year.network) {
    lines.push(el("p", {}, t("relation_" + year.relation) + " ", opener(year.network)));
  } else lines.push(el("p", {}, t("no_network")));
  show("year", ...lines);
}
const opener = (name) => button(t("open", { network: called(name) }), () => chooseNetwork(name, true), { "data-open": name });
function chooseYear(year) {
  state.year = year;
  timeline();
  const found = data.story.years.find((one) => one.year === year);
  if (found.network) chooseNetwork(found.network, false);
}

// ---- the network: facts, drawing, rows, printed numbers
function chooseNetwork(name, jump) {
  const network = byName.get(name);
  Object.assign(state, { network: name, open: "", page: 0, row: network.stages[0][0] });
  $("network").value = name;
  middle();
  networkView();
  field();
  passed();
  if (jump) {
    drawAbove($("choice"));
    $("choice").scrollIntoView();
  }
}
function chooseRow(name) {
  const stage = stageOf(name), part = parts(byName.get(state.network)).get(stage);
  if (!part) return;  // an auxiliary classifier has no place in the image's table
  if (state.open !== stage) Object.assign(state, { open: part.inner.length ? stage : "", page: 0 });
  if (name !== stage) state.page = Math.floor(part.inner.findIndex((row) => row.name === name) / PAGE);
  state.row = name;
  middle();
  rows();
  field();
  passed();
  highlight();
}
function middle() {  // the unit in the middle of the chosen row
  const [, height, width] = rowCalled(byName.get(state.network), state.row).output;
  Object.assign(state, { y: height >> 1, x: width >> 1 });
}
function networkView() {
  const network = byName.get(state.network), source = network.source, totals = network.totals;
  const where = [source.authors, source.year, source.venue, source.arxiv && `arXiv ${source.arxiv}`].filter(Boolean);
  show("facts", el("h3", {}, called(network.name)), source.title ? el("p", {}, `${source.title}. ${where.join(", ")}.`) : null,
    source.note ? el("p", {}, prose(source.note)) : null,
    el("p", {}, t("totals", { input: sized(totals.input), classes: count(totals.classes), depth: totals.depth,
      params: count(totals.params), macs: scaled(totals.macs, 1e9, 3), ops: scaled(totals.ops, 1e9, 3),
      peak: scaled(totals.peak_inference_bytes, 1e6, 1) }),
      totals.head_params ? " " + t("heads", { params: count(totals.head_params) }) : ""),
    place(network));
  drawing("drawing", network, chooseRow);
  rows();
  printed(network);
  highlight();
}
function place(network) {
  const all = sum(Object.values(network.params));
  const shares = Object.entries(network.params).map(([key, params]) => ({ key, params,
    said: `${t("place_" + key)} ${short(params)} (${percent((100 * params / all).toFixed(1))})` }));
  return el("div", {}, el("strong", {}, t("places")),
    el("div", { class: "bar", role: "img", "aria-label": shares.map((share) => share.said).join(", ") },
      ...shares.map((share) => el("i", { class: share.key, style: `flex:${share.params / all}`, title: share.said }))),
    el("p", {}, ...shares.flatMap((share) => [el("span", { class: "entry" }, el("span", { class: "key " + share.key }), share.said), " "])));
}
function drawing(id, network, act) {
  const svg = document.importNode(new DOMParser().parseFromString(network.svg, "image/svg+xml").documentElement, true);
  for (const text of svg.querySelectorAll("text")) text.textContent = told(text.textContent);
  for (const group of act ? svg.querySelectorAll("g") : []) {
    const title = group.querySelector(":scope > title");
    const name = title ? title.textContent.split(": ")[0] : group.getAttribute("aria-label").split(", ")[0];
    if (name === "input" || !rowCalled(network, name)) continue;
    made(group, { role: "button", tabindex: 0, "data-row": name, "aria-label": title ? title.textContent : name,
      onclick: (event) => { event.stopPropagation(); act(name); },
      onkeydown: (event) => { if (event.target === group) pressed(event, () => act(name)); } }, []);
  }
  (typeof id === "string" ? $(id) : id).replaceChildren(svg);
}
function highlight() {
  for (const group of document.querySelectorAll("#drawing [data-row]")) {
    group.classList.toggle("on", group.dataset.row === state.row || group.dataset.row === state.open);
  }
}
function rows() {
  const network = byName.get(state.network), all = [...parts(network).values()], lines = [], shown = [];
  const most = mostOf(all.map((part) => part.row));
  for (const { row, inner } of all) {
    lines.push(rowLine(row, most, inner.length));
    shown.push(row.name);
    if (row.name !== state.open) continue;
    const page = inner.slice(state.page * PAGE, (state.page + 1) * PAGE);
    lines.push(...page.map((one) => rowLine(one, most, 0, true)));
    shown.push(...page.map((one) => one.name));
    if (inner.length > PAGE) lines.push(pager(inner.length));
  }
  show("rows", table(t("rows_of", { network: network.name }), heads(WIDE), lines, totalRow(all.map((part) => part.row), WIDE)));
  show("row", ...shown.map((name) => el("option", { value: name, selected: name === state.row }, name)));
}
function rowLine(row, most, inside, inner = false) {
  const chosen = row.name === state.row;
  const label = inner ? row.name.slice(stageOf(row.name).length + 1) : row.name;
  const name = button((inside ? (row.name === state.open ? "▾ " : "▸ ") : "") + label, () => {
    if (inside && chosen && state.open === row.name) { state.open = ""; rows(); highlight(); } else chooseRow(row.name);
    document.querySelector(`#rows [data-row="${CSS.escape(row.name)}"]`)?.focus({ preventScroll: true });
  }, { "data-row": row.name, title: row.name, "aria-expanded": inside ? row.name === state.open : null, "aria-pressed": chosen });
  const classes = [inner && "inner", chosen && "chosen"].filter(Boolean).join(" ");
  return el("tr", { class: classes || null }, el("th", { scope: "row" }, name), ...rowCells(row, most, WIDE, inside));
}
function pager(length) {
  const last = Math.ceil(length / PAGE) - 1;
  const turn = (by) => () => { state.page = Math.min(last, Math.max(0, state.page + by)); rows(); };
  const from = state.page * PAGE;
  return el("tr", {}, el("td", { colspan: 8 }, button("←", turn(-1), { "aria-label": t("earlier") }),
    ` ${count(from + 1)}–${count(Math.min(length, from + PAGE))} / ${count(length)} `, button("→", turn(1), { "aria-label": t("later") })));
}
function printed(network) {
  const units = { 1: "", 1000: "K", 1024: "K (1024)", 1000000: "M", 1000000000: "G" };
  const claims = network.claims.flatMap((claim) => {
    const line = el("tr", {}, el("th", { scope: "row" }, claim.row || t("whole")), cell(t("of_" + claim.of), false),
      cell(`${claim.printed}`), cell(`${claim.ours}`), cell(units[claim.unit], false),
      el("td", { class: "words " + claim.verdict }, t("claim_" + claim.verdict)), cell(claim.where, false));
    if (!claim.erratum) return [line];
    const erratum = el("td", { colspan: 7 }, el("div", {}, `${t("erratum")}: ${prose(claim.erratum)}`));
    return [line, el("tr", { class: "erratum" }, erratum)];
  });
  const percent = (fraction) => fraction === null ? "n/a" : `${+(100 * fraction).toFixed(3)}`;
  const models = (error) => error.models === null ? "" : error.models > 1 ? t("models", { n: error.models }) : "1";
  const errors = network.errors.map((error) => el("tr", {},
    cell(percent(error.top1_error)), cell(percent(error.top5_error)), cell(error.protocol, false), cell(error.split, false),
    cell(models(error)), cell(t("conf_" + error.conf), false), cell(error.where + (error.note ? "; " + error.note : ""), false)));
  const titled = (title, heads, lines) => lines.length ? [el("h3", {}, t(title)), table(t(title), heads, lines)] : [];
  show("printed",
    ...titled("printed_beside", [[t("row")], [t("of")], [t("printed"), true], [t("ours"), true], [t("unit_head")],
      [t("verdict")], [t("where")]], claims),
    ...(network.differs.length ? [el("h3", {}, t("differs")),
      el("ul", {}, ...network.differs.map((one) => el("li", {}, prose(one))))] : []),
    ...titled("errors", [[t("top1_error"), true], [t("top5_error"), true], [t("protocol")], [t("images")],
      [t("models_head"), true], [t("conf")], [t("where")]], errors));
}
