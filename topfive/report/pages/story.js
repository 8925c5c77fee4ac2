"use strict";
// Draws what stands in #story-data. Nothing is computed here but shares, orders and places: all counts are embedded.
const data = JSON.parse(document.getElementById("story-data").textContent);
const root = document.documentElement;
const model = data.story.model;  // of the reader's own, or null
if (model) data.story.networks.unshift(model.network);
const byName = new Map(data.story.networks.map((network) => [network.name, network]));
const PAGE = 24;  // inner rows shown at once
const state = { network: "alexnet", open: "", page: 0, row: "conv1", y: 27, x: 27, year: 2012, image: data.image, file: "",
  one: "resnet-50", two: "resnet-50-v1.5", inner: "" };

// ---- words and numbers
const language = () => root.lang;
const t = (key, values = {}) => data.texts[language()][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
const told = (sentence) => (language() === "ko" && data.sentences[sentence]) || sentence;
const formats = [0, 1, 2, 3].map((digits) => new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const scaled = (number, unit, digits) => formats[digits].format(number / unit);
const count = (number) => scaled(number, 1, 0);
const short = (number) => number >= 1e9 ? scaled(number, 1e9, 2) + " G" : number >= 1e6 ? scaled(number, 1e6, 1) + " M"
  : count(number);
const by = (sizes) => sizes.join("×");
const square = ([height, width]) => height === width ? String(height) : `${height}×${width}`;
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

// ---- elements
const SVG = "http://www.w3.org/2000/svg";
function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const el = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => made(document.createElementNS(SVG, tag), attributes, children);
const $ = (id) => document.getElementById(id);
const show = (id, ...children) => $(id).replaceChildren(...children.filter((child) => child !== null));
const button = (label, act, more = {}) => el("button", { type: "button", onclick: act, ...more }, label);
// a mark of a figure as a button, for the pointer, the keyboard and a screen reader
const mark = (label, act, ...children) => draw("g", { class: "mark-button", role: "button", tabindex: 0,
  "aria-label": label, onclick: act, onkeydown: (event) => pressed(event, act) }, draw("title", {}, label), ...children);
function pressed(event, act) {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  act();
}
function table(caption, heads, rows, foot = null) {
  const cells = heads.map(([label, number]) => el("th", { scope: "col", class: number ? "number" : null }, label));
  const title = el("caption", {}, caption);
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {}, title, el("thead", {}, el("tr", {}, ...cells)), el("tbody", {}, ...rows), foot && el("tfoot", {}, foot)));
}
const cell = (text, number = true) => el("td", { class: number ? "number" : "words" }, text);

// ---- rows of a network
function unpacked(network, [name, kind, field, least, centre]) {
  const [layer, output, params, macs, bytes, stride] = network.kinds[kind];
  return { name, layer, output, params, macs, bytes, stride, field, least, centre };
}
function parts(network) {  // its stages, and the layers inside of each
  if (!network.parts) {
    network.parts = new Map(network.stages.map((row) => [row[0], { row: unpacked(network, row), inner: [] }]));
    for (const row of network.layers) {
      const part = network.parts.get(row[0].split(".")[0]);
      if (row[0] !== part.row.name) part.inner.push(unpacked(network, row));
    }
  }
  return network.parts;
}
const stageOf = (name) => name.split(".")[0];
function rowCalled(network, name) {
  const part = parts(network).get(stageOf(name));
  return part && (part.row.name === name ? part.row : part.inner.find((row) => row.name === name));
}
const HEATS = { params: (row) => row.params, macs: (row) => row.macs, bytes: (row) => row.bytes,
  field: (row) => Math.max(...row.field) };
const SHOWN = { params: (row) => row.params ? count(row.params) : "", macs: (row) => row.macs ? scaled(row.macs, 1e6, 1) : "",
  bytes: (row) => row.bytes ? scaled(row.bytes, 1e3, 0) : "", field: (row) => square(row.field), least: (row) => square(row.least) };
const WIDE = ["params", "macs", "bytes", "field", "least"], NARROW = ["params", "macs", "field"];
const heads = (keys) => [[t("row")], [t("layer")], [t("output"), true], ...keys.map((key) => [t(key), true])];
function rowCells(row, most, keys, inside = 0) {
  return [cell(row.layer || t("inside", { n: count(inside) }), false), cell(by(row.output)), ...keys.map((key) => {
    const share = most[key] ? Math.sqrt(HEATS[key](row) / most[key]) : 0;
    return el("td", { class: "number heat", style: `--share:${Math.round(65 * share)}%` }, SHOWN[key](row));
  })];
}
function mostOf(rows) {
  return Object.fromEntries(Object.entries(HEATS).map(([key, value]) => [key, Math.max(...rows.map(value))]));
}
function totalRow(rows, keys) {
  const total = { params: 0, macs: 0, bytes: 0 };
  for (const row of rows) for (const key in total) total[key] += row[key];
  return el("tr", {}, el("th", { scope: "row" }, t("total")), cell("", false), cell(""),
    ...keys.map((key) => cell(key in total ? SHOWN[key](total) : "")));
}

// ---- timeline
const HALO = "paint-order:stroke;stroke:var(--page);stroke-width:4px";  // keeps letters legible on lines
function timeline() {
  const years = data.story.years, width = Math.max(320, $("timeline-figure").clientWidth), height = 330;
  const step = (width - 40) / years.length, most = Math.max(...years.map((year) => year.error));
  const y = (error) => 292 - 250 * error / most;
  const marks = years.map((year, i) => {
    const x = 34 + i * step, wide = Math.min(step * 0.62, 70);
    const kind = t(year.shallow ? "shallow" : "deep") + (year.shallow ? "" : ", " + t("ensemble"));
    const beside = x + wide + 9, chosen = year.year === state.year;
    const ring = year.single === null ? [] : [draw("circle", { cx: beside, cy: y(year.single), r: 5, fill: "var(--page)",
      stroke: "currentColor", "stroke-width": 2 })];
    if (ring.length && step > 80) ring.push(draw("text", { x: beside + 9, y: y(year.single) + 4, "font-size": 12 }, `${year.single}`));
    return mark(`${year.year}: ${year.entry}, ${year.error} %, ${kind}`, () => chooseYear(year.year),
      draw("rect", { x, y: y(year.error), width: wide, height: 292 - y(year.error), "stroke-width": chosen ? 3 : 0,
        stroke: "currentColor", fill: year.shallow ? "var(--shallow)" : "var(--deep)" }),
      draw("text", { x: x + wide / 2, y: y(year.error) - 6, "text-anchor": "middle", "font-size": 13, "font-weight": 600,
        style: HALO }, `${year.error}`),
      draw("text", { x: x + wide / 2, y: 310, "text-anchor": "middle", "font-size": 13 }, `${year.year}`), ...ring);
  });
  const person = y(data.story.human);
  show("timeline-figure", draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("timeline_label") },
    draw("text", { x: 0, y: 14, "font-size": 13 }, t("timeline_label")),
    draw("line", { x1: 24, x2: width, y1: 292, y2: 292, class: "axis" }),
    draw("line", { x1: 24, x2: width, y1: person, y2: person, stroke: "currentColor", "stroke-dasharray": "4 3" }), ...marks,
    draw("text", { x: 0, y: person + 4, "font-size": 12 }, `${data.story.human}`)),
    el("figcaption", {}, el("span", { class: "key", style: "background:var(--shallow)" }), t("shallow") + "  ",
      el("span", { class: "key", style: "background:var(--deep)" }), t("deep") + ", " + t("ensemble") + "  ", "○ " + t("single") + "  ", "┄ " + t("person", { error: data.story.human })));
  yearPanel(years.find((year) => year.year === state.year));
}
function yearPanel(year) {
  const lines = [el("p", {}, el("strong", {}, `${year.year}: ${year.entry}`),
    ` · ${t("top5_error")} ${year.error} % · ${told(year.method)}`)];
  if (year.note) lines.push(el("p", {}, told(year.note)));
  if (year.single !== null) {
    lines.push(el("p", {}, t("single_of", { network: year.network, error: year.single, protocol: year.single_protocol })));
  }
  if (year.network) {
    lines.push(el("p", {}, t("relation_" + year.relation) + " ", opener(year.network)));
  } else lines.push(el("p", {}, t("no_network")));
  show("year", ...lines);
}
const opener = (name) => button(`${t("open")} ${name}`, () => chooseNetwork(name, true), { "data-open": name });
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
  if (jump) $("choice").scrollIntoView();
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
  show("facts", el("h3", {}, network.name), source.title ? el("p", {}, `${source.title}. ${where.join(", ")}.`) : null,
    source.note ? el("p", {}, told(source.note)) : null,
    el("p", {}, t("totals", { input: totals.input, classes: count(totals.classes), depth: totals.depth,
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
    said: `${t("place_" + key)} ${short(params)} (${(100 * params / all).toFixed(1)} %)` }));
  return el("div", {}, el("strong", {}, t("places")),
    el("div", { class: "bar", role: "img", "aria-label": shares.map((share) => share.said).join(", ") },
      ...shares.map((share) => el("i", { class: share.key, style: `flex:${share.params / all}`, title: share.said }))),
    el("p", {}, ...shares.flatMap((share) => [el("span", { class: "key " + share.key }), share.said + "  "])));
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
      el("td", { class: "words " + claim.verdict }, t(claim.verdict)), cell(claim.where, false));
    const erratum = claim.erratum ? el("tr", { class: "erratum" }, el("td", { colspan: 7 }, `${t("erratum")}: ${told(claim.erratum)}`)) : null;
    return erratum ? [line, erratum] : [line];
  });
  const percent = (fraction) => fraction === null ? "n/a" : `${+(100 * fraction).toFixed(3)}`;
  const errors = network.errors.map((error) => el("tr", {}, cell(percent(error.top1_error)), cell(percent(error.top5_error)),
    cell(error.protocol, false), cell(error.split, false), cell(error.models === null ? "" : error.models > 1 ? t("models", { n: error.models }) : "1"),
    cell(t("conf_" + error.conf), false), cell(error.where + (error.note ? "; " + error.note : ""), false)));
  show("printed",
    claims.length ? el("h3", {}, t("printed_beside")) : null,
    claims.length ? table(t("printed_beside"), [[t("row")], [t("of")], [t("printed"), true], [t("ours"), true], [t("unit_head")], [t("verdict")], [t("where")]], claims) : null,
    network.differs.length ? el("h3", {}, t("differs")) : null,
    network.differs.length ? el("ul", {}, ...network.differs.map((one) => el("li", {}, told(one)))) : null,
    errors.length ? el("h3", {}, t("errors")) : null,
    errors.length ? table(t("errors"), [[t("top1_error"), true], [t("top5_error"), true], [t("protocol")], [t("images")], [t("models_head"), true], [t("conf")], [t("where")]], errors) : null);
}

// ---- the receptive field of one unit
function seen(row, size, axis, index) {  // the pixels that a field of this size covers
  const middle = row.centre[axis] + row.stride[axis] * index;
  return [middle - (size[axis] - 1) / 2, middle + (size[axis] - 1) / 2];
}
function field() {
  const network = byName.get(state.network), row = rowCalled(network, state.row);
  const [, height, width] = network.totals.input.split("x").map(Number), [, rows_, columns] = row.output;
  const box = (size) => {
    const [top, bottom] = seen(row, size, 0, state.y), [left, right] = seen(row, size, 1, state.x);
    return { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
  };
  const large = box(row.field), small = box(row.least), margin = 0.15 * width, line = width / 160;
  const around = `M${-margin} ${-margin}h${width + 2 * margin}v${height + 2 * margin}h${-width - 2 * margin}z`;
  const inside = `M${large.x} ${large.y}h${large.width}v${large.height}h${-large.width}z`;
  const svg = draw("svg", { viewBox: `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`, tabindex: 0, role: "application",
    "aria-label": t("field_label"), "aria-describedby": "unit", onpointermove: (event) => point(event, svg, row), onkeydown: step },
    draw("image", { href: network === model?.network && !state.file ? PNG + model.view : state.image, width, height, preserveAspectRatio: "xMidYMid slice" }),
    draw("path", { d: around + inside, "fill-rule": "evenodd", fill: "var(--page)", "fill-opacity": 0.5 }),
    draw("rect", { ...large, fill: "none", stroke: "#e6550d", "stroke-width": line }),
    by(row.field) === by(row.least) ? null : draw("rect", { ...small, fill: "none", stroke: "#56b4e9", "stroke-width": line, "stroke-dasharray": `${3 * line} ${2 * line}` }));
  if ($("field-figure").firstChild?.contains(document.activeElement)) setTimeout(() => svg.focus({ preventScroll: true }));
  show("field-figure", svg);
  Object.assign($("down"), { max: rows_ - 1, value: state.y });
  Object.assign($("across"), { max: columns - 1, value: state.x });
  const span = (from, to) => `${from}–${to}`;
  show("unit", t("unit", { network: network.name, row: row.name, y: state.y + 1, x: state.x + 1, rows: rows_, columns, field: by(row.field),
    across: span(...seen(row, row.field, 1, state.x)), down: span(...seen(row, row.field, 0, state.y)), input: `${height}×${width}` }) +
    (Math.max(...row.field) > Math.max(height, width) ? " " + t("unit_beyond") : "") +
    (by(row.field) === by(row.least) ? "" : " " + t("unit_least", { least: by(row.least) })));
  show("map", draw("svg", { viewBox: `0 0 ${columns} ${rows_}`, role: "img", "aria-label": t("map", { rows: rows_, columns }) },
    draw("rect", { width: columns, height: rows_, fill: "var(--raised)", stroke: "var(--line)", "stroke-width": columns / 80 }),
    draw("rect", { x: state.x, y: state.y, width: Math.max(1, columns / 60), height: Math.max(1, rows_ / 60), fill: "#e6550d" })),
    el("figcaption", {}, t("map", { rows: rows_, columns })));
}
const PNG = "data:image/png;base64,";
function passed() {  // what the reader's model makes of the image, in the chosen row
  if (!model) return;
  const answers = model.answers.map(([name, share]) => el("li", {}, `${name}: ${scaled(100 * share, 1, 1)} %`));
  const here = state.network === model.network.name, row = stageOf(state.row), maps = here ? model.maps[row] || [] : [];
  show("passed", el("h3", {}, t("passed", { model: model.network.name, protocol: model.protocol })), el("ol", {}, ...answers),
    el("p", {}, here ? t(maps.length ? "maps_of" : "maps_none", { row, n: maps.length }) : opener(model.network.name)),
    el("div", { class: "maps" }, ...maps.map((map) => el("figure", {}, el("img", { src: PNG + map.png, alt: t("channel", map) }), el("figcaption", {}, t("channel",
      { channel: map.channel, low: map.low.toPrecision(3), high: map.high.toPrecision(3) }))))));
}
function unit(y, x) {
  const [, height, width] = rowCalled(byName.get(state.network), state.row).output;
  Object.assign(state, { y: Math.max(0, Math.min(height - 1, y)), x: Math.max(0, Math.min(width - 1, x)) });
  field();
}
function point(event, svg, row) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  unit(Math.round((at.y - row.centre[0]) / row.stride[0]), Math.round((at.x - row.centre[1]) / row.stride[1]));
}
function step(event) {
  const [y, x] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] || [0, 0];
  if (!y && !x) return;
  event.preventDefault();
  unit(state.y + y, state.x + x);
}
function take(file) {
  if (!file) return;
  const reader = new FileReader();
  reader.onload = () => {
    const image = new Image();
    image.onload = () => { Object.assign(state, { image: reader.result, file: file.name }); $("file-said").textContent = file.name; field(); };
    image.onerror = () => { $("file-said").textContent = t("not_image", { file: file.name }); };
    image.src = reader.result;
  };
  reader.readAsDataURL(file);
}
function effective() {
  const lines = data.story.experiments["stacked-3x3"]?.lines || [];
  if (!lines.length) return;
  const xs = lines.flatMap((line) => line[1]), low = Math.min(...xs), wide = Math.max(...xs) - low, colours = ["#0072b2", "#d55e00", "#009e73"];
  show("effective", draw("svg", { viewBox: "0 0 480 220", role: "img", "aria-label": t("effective"), style: "max-width:34rem" },
    draw("line", { x1: 20, x2: 470, y1: 190, y2: 190, class: "axis" }),
    ...lines.map(([name, x, y], i) => draw("polyline", { fill: "none", stroke: colours[i % 3], "stroke-width": 2,
      points: x.map((at, n) => `${20 + 450 * (at - low) / wide},${190 - 170 * y[n]}`).join(" ") })),
    ...lines.map(([name], i) => draw("text", { x: 24, y: 20 + 16 * i, "font-size": 12, style: `fill:${colours[i % 3]}` }, name))),
    el("p", {}, t("effective")));
}

// ---- before and after
function ideas() {
  for (const idea of data.story.ideas) {
    const cards = [idea.before, idea.after].map((network) => {
      const figure = el("div", { class: "drawing" });
      drawing(figure, network, null);
      const all = [...parts(network).values()].flatMap(({ row, inner }) => inner.length ? inner : [row]);
      const total = [...parts(network).values()].map((part) => part.row);
      return el("div", {}, el("h4", {}, network.name), figure,
        table(t("rows_of", { network: network.name }), heads(NARROW), all.map((row) => el("tr", {}, el("th", { scope: "row" }, row.name),
          ...rowCells(row, mostOf(all), NARROW))), totalRow(total, NARROW)));
    });
    const [before, after] = [idea.before, idea.after].map((network) => ({ params: network.totals.params, macs: network.totals.macs,
      maps: [...parts(network).values()][0].row.output[0], depth: network.totals.depth }));
    const share = (key) => `${Math.round(100 * after[key] / before[key])} %`;
    const gain = [`${t("params")}: ${count(before.params)} → ${count(after.params)} (${share("params")})`,
      `${t("macs_whole")}: ${scaled(before.macs, 1e6, 1)} M → ${scaled(after.macs, 1e6, 1)} M (${share("macs")})`,
      `${t("maps")}: ${before.maps} → ${after.maps}`, `${t("depth")}: ${before.depth} → ${after.depth}`];
    document.querySelector(`[data-idea="${idea.name}"]`).replaceChildren(el("p", { class: "gain" }, gain.join(" · ")), ...cards);
  }
}

// ---- two networks
function aligned(one, two) {  // names of both, in the order of both
  const places = new Map(two.map((name, i) => [name, i]));
  const names = [];
  let next = 0;
  for (const name of one) {
    const found = places.get(name);
    if (found >= next) { names.push(...two.slice(next, found)); next = found + 1; }
    names.push(name);
  }
  return [...new Set([...names, ...two.slice(next)])];
}
const same = (a, b) => JSON.stringify({ ...a, name: "" }) === JSON.stringify({ ...b, name: "" });
const alike = (a, b) => a && b && same(a.row, b.row) && a.inner.length === b.inner.length && a.inner.every((row, i) => same(row, b.inner[i]));
function side() {
  const [one, two] = [state.one, state.two].map((name) => parts(byName.get(name)));
  const lines = [];
  for (const name of aligned([...one.keys()], [...two.keys()])) {
    const [a, b] = [one.get(name), two.get(name)], inner = Math.max(a?.inner.length || 0, b?.inner.length || 0);
    const label = inner ? button((state.inner === name ? "▾ " : "▸ ") + name, () => { state.inner = state.inner === name ? "" : name; side(); }, { "aria-expanded": state.inner === name, "data-pair": name }) : name;
    lines.push(pairLine(label, a?.row, b?.row, !alike(a, b), a?.inner.length, b?.inner.length));
    if (state.inner !== name || !inner) continue;
    const [left, right] = [a, b].map((part) => new Map((part?.inner || []).map((row) => [row.name, row])));
    const names = aligned([...left.keys()], [...right.keys()]);
    const order = (row) => same(left.get(row), right.get(row)) ? 1 : 0;
    for (const row of names.sort((x, y) => order(x) - order(y)).slice(0, PAGE)) {
      lines.push(pairLine(row, left.get(row), right.get(row), !same(left.get(row), right.get(row)), 0, 0, true));
    }
    if (names.length > PAGE) lines.push(el("tr", {}, el("td", { colspan: 11 }, t("more", { n: count(names.length - PAGE) }))));
  }
  const labels = [t("layer"), t("output"), t("params"), t("macs"), t("field")];
  const both = [state.one, state.two].flatMap((name, i) => labels.map((label, n) => [`${"AB"[i]} ${label}`, n > 0]));
  show("pair", table(`${state.one}, ${state.two}`, [[t("row")], ...both], lines));
}
function pairLine(label, a, b, differs, insideA, insideB, inner = false) {
  const cells = (row, inside) => row ? [cell(row.layer || t("inside", { n: count(inside || 0) }), false), cell(by(row.output)), cell(row.params ? count(row.params) : ""),
    cell(row.macs ? scaled(row.macs, 1e6, 1) : ""), cell(square(row.field))] : ["–", "", "", "", ""].map((text) => cell(text));
  const classes = [differs && "differs", inner && "inner"].filter(Boolean).join(" ");
  return el("tr", { class: classes || null }, el("th", { scope: "row" }, label, differs ? el("b", { "aria-label": t("differs_row") }, " ≠") : null),
    ...cells(a, insideA), ...cells(b, insideB));
}

// ---- accuracy, operations, memory
const FAMILIES = { AlexNet: "#e69f00", VGG: "#d55e00", Inception: "#009e73", plain: "#999999", ResNet: "#0072b2", DenseNet: "#cc79a7", compact: "#56b4e9", yours: "currentColor" };
// names beside their dots where there is room: those of the front first, others only clear of every dot
function placed(points, width, x, y, r) {
  const taken = [], labels = [];
  for (const point of points) {
    const long = 6.4 * point.name.length, [at, up, away] = [x(point), y(point), r(point) + 3];
    const free = [[at - away - long, up - 3], [at + away, up + 4], [at - long / 2, up - away - 1], [at - long / 2, up + away + 9]].find(([left, base]) =>
      left > 40 && left + long < width && !taken.some(([a, b, wide]) => left < a + wide && a < left + long && Math.abs(b - base) < 12) &&
      (point.front || points.every((one) => Math.hypot(Math.max(left - x(one), 0, x(one) - left - long), base - 4 - y(one)) > r(one) + 3)));
    if (!free) continue;
    taken.push([...free, long]);
    labels.push(draw("text", { x: free[0], y: free[1], "font-size": 11, "font-weight": point.front ? 600 : 400, style: HALO, "aria-hidden": "true",
      "pointer-events": "none" }, point.name));
  }
  return labels;
}
function comparison() {
  const points = [...data.story.published, ...data.story.own], width = Math.max(320, $("comparison-figure").clientWidth), height = Math.min(560, Math.max(380, width * 0.6));
  const ops = points.map((point) => Math.log10(point.ops)), tops = points.map((point) => point.top1);
  const [left, right, low, high] = [Math.min(...ops) - 0.1, Math.max(...ops) + 0.25, Math.floor(Math.min(...tops) - 1), Math.ceil(Math.max(...tops) + 2)];
  const x = (point) => 44 + (width - 60) * (Math.log10(point.ops) - left) / (right - left), y = (top1) => height - 40 - (height - 70) * (top1 - low) / (high - low);
  const r = (point) => 3 + Math.sqrt(point.bytes / 2e6);
  const front = points.filter((point) => point.front).sort((a, b) => a.ops - b.ops);
  const ticks = [5e8, 1e9, 2e9, 5e9, 1e10, 2e10, 5e10].filter((tick) => Math.log10(tick) > left && Math.log10(tick) < right);
  const grid = [...ticks.map((tick) => [draw("line", { x1: x({ ops: tick }), x2: x({ ops: tick }), y1: 24, y2: height - 40, class: "axis" }),
    draw("text", { x: x({ ops: tick }), y: height - 24, "text-anchor": "middle", "font-size": 12 }, `${tick / 1e9} G`)]),
    ...[...Array(9).keys()].map((i) => 10 * i + 10).filter((top) => top > low && top < high).map((top) => [
      draw("line", { x1: 40, x2: width, y1: y(top), y2: y(top), class: "axis" }), draw("text", { x: 36, y: y(top) + 4, "text-anchor": "end", "font-size": 12 }, `${top}`)])].flat();
  const dots = [...points].sort((a, b) => b.bytes - a.bytes).map((point) => mark(
    `${point.name}: ${point.top1.toFixed(1)} %, ${scaled(point.ops, 1e9, 2)} G ${t("ops")}, ${scaled(point.bytes, 1e6, 0)} MB, ${count(point.params)} ${t("params")}; ${point.protocol}; ${point.conf ? t("conf_" + point.conf) + ", " : ""}${point.where}`,
    () => byName.has(point.name) && chooseNetwork(point.name, true),
    draw("circle", { cx: x(point), cy: y(point.top1), r: r(point), fill: FAMILIES[point.family], "fill-opacity": point.compared ? 0.6 : 0,
      stroke: FAMILIES[point.family], "stroke-width": 1.5 })));
  const labels = placed([...front, ...points.filter((one) => !one.front)], width, x, (point) => y(point.top1), r);
  show("comparison-figure", draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("comparison_label") },
    draw("text", { x: 0, y: 14, "font-size": 13 }, t("top1_axis")), draw("text", { x: width, y: height - 4, "text-anchor": "end", "font-size": width < 500 ? 11 : 13 }, t("ops_axis")),
    ...grid, draw("polyline", { class: "front", points: front.map((point) => `${x(point)},${y(point.top1)}`).join(" ") }), ...dots, ...labels),
    el("figcaption", {}, ...Object.keys(FAMILIES).filter((family) => points.some((point) => point.family === family)).flatMap((family) => [
      el("span", { class: "key", style: `background:${FAMILIES[family]}` }), (family === "yours" ? t("yours") : family) + "  "])));
  const lines = [...front, ...data.story.own].map((point) => el("tr", {}, el("th", { scope: "row" }, point.family === "yours" ? point.name : opener(point.name)), cell(point.top1.toFixed(1)),
    cell(scaled(point.ops, 1e9, 2)), cell(scaled(point.bytes, 1e6, 0)), cell(count(point.params)), cell(point.protocol, false), cell(point.where, false)));
  show("front", el("h3", {}, t("front")), table(t("front"), [[t("network")], [t("top1"), true], [t("ops_whole"), true], [t("peak"), true], [t("params"), true], [t("protocol")], [t("where")]], lines));
}

// ---- all of it
const lazy = { timeline, networks: networkView, field: () => { field(); passed(); effective(); }, ideas, side, comparison };
const drawn = new Set();
function need(key) {
  if (drawn.has(key)) return;
  drawn.add(key);
  lazy[key]();
}
function speak(chosen) {
  root.lang = chosen;
  for (const one of document.querySelectorAll(".languages button")) one.setAttribute("aria-pressed", one.dataset.language === chosen);
  document.title = "topfive: " + t("title");
  for (const key of [...drawn]) lazy[key]();
}
function options(id, chosen) {
  const families = Map.groupBy ? Map.groupBy(data.story.networks, (one) => one === model?.network ? t("yours") : one.source.family) : new Map([["", data.story.networks]]);
  $(id).replaceChildren(...[...families].map(([family, found]) => el("optgroup", { label: family || "topfive" },
    ...found.map((one) => el("option", { value: one.name, selected: one.name === chosen }, one.name)))));
}
for (const one of document.querySelectorAll(".languages button")) one.addEventListener("click", () => speak(one.dataset.language));
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
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) need(entry.target.id);
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
