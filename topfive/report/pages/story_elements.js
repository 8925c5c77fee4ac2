"use strict";
// Draws what stands in #story-data. Nothing is computed here but shares, orders and places: all counts are embedded.
const data = JSON.parse(document.getElementById("story-data").textContent);
const root = document.documentElement;
const PNG = "data:image/png;base64,";
const model = data.story.model;  // of the reader's own, or null
if (model) data.story.networks.unshift(model.network);
const byName = new Map(data.story.networks.map((network) => [network.name, network]));
const called = (name) => byName.get(name)?.alias ? `${name} (${byName.get(name).alias})` : name;  // vgg-d (vgg-16)
const PAGE = 24;  // inner rows shown at once
const state = { network: "alexnet", open: "", page: 0, row: "conv1", y: 27, x: 27, year: 2012, image: data.image, file: "",
  one: "resnet-50", two: "resnet-50-v1.5", inner: "", own: null };

// ---- words and numbers
const language = () => root.lang;
// no line ends between a number and its unit, where Korean puts no space, nor at the hyphen of 곱셈-덧셈
const t = (key, values = {}) => data.texts[language()][key].replace(/\{(\w+)\}/g, (_, name) => values[name])
  .replace(/(\d) (?=%|[MG]B?(?!\w))/g, "$1\u00a0").replace(/([가-힣]-)(?=[가-힣])/g, "$1\u2060");
const gap = () => language() === "ko" ? "" : "\u00a0";
const percent = (number) => `${number}${gap()}%`;
const told = (sentence) => (language() === "ko" && data.sentences[sentence]) || sentence;
const sized = (text) => text.replace(/(?<![\w-])\d+(?:x\d+)+(?![A-Za-z\d-])/g, (size) => size.replaceAll("x", "×"));
const prose = (sentence) => sized(told(sentence));
const formats = [0, 1, 2, 3].map((digits) =>
  new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const scaled = (number, unit, digits) => formats[digits].format(number / unit);
const count = (number) => scaled(number, 1, 0);
const short = (number) => number >= 1e9 ? scaled(number, 1e9, 2) + gap() + "G"
  : number >= 1e6 ? scaled(number, 1e6, 1) + gap() + "M" : count(number);
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
const words = (x, y, size, text, more = {}) => draw("text", { x, y, "font-size": size, ...more }, text);
const keyed = (colour, text) => [el("span", { class: "entry" }, el("span", { class: "key", style: `background:${colour}` }), text), " "];
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
const SHOWN = {
  params: (row) => row.params ? count(row.params) : "",
  macs: (row) => row.macs ? scaled(row.macs, 1e6, 1) : "",
  bytes: (row) => row.bytes ? scaled(row.bytes, 1e3, 0) : "",
  field: (row) => square(row.field),
  least: (row) => square(row.least),
};
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
