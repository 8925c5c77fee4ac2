// The ideas before and after, two networks side by side, accuracy against operations and memory.
// ---- before and after
function ideas() {
  for (const idea of data.story.ideas) {
    const cards = [idea.before, idea.after].map((network) => {
      const figure = el("div", { class: "drawing" });
      drawing(figure, network, null);
      crop(figure.firstChild);
      const all = [...parts(network).values()].flatMap(({ row, inner }) => inner.length ? inner : [row]);
      const most = mostOf(all), total = [...parts(network).values()].map((part) => part.row);
      const lines = all.map((row) => el("tr", {}, el("th", { scope: "row", title: row.name }, row.name.slice(row.name.indexOf(".") + 1)), ...rowCells(row, most, NARROW)));
      const caption = t("rows_of", { network: network.name });
      return el("div", {}, el("h4", {}, network.name), figure, table(caption, heads(NARROW), lines, totalRow(total, NARROW)));
    });
    const [before, after] = [idea.before, idea.after].map((network) =>
      ({ ...network.totals, maps: [...parts(network).values()][0].row.output[0] }));
    const share = (key) => percent(Math.round(100 * after[key] / before[key]));
    const mega = (number) => scaled(number, 1e6, 1) + gap() + "M";
    const gain = [`${t("params")}: ${count(before.params)} → ${count(after.params)} (${share("params")})`,
      `${t("macs_whole")}: ${mega(before.macs)} → ${mega(after.macs)} (${share("macs")})`,
      `${t("maps")}: ${before.maps} → ${after.maps}`, `${t("depth")}: ${before.depth} → ${after.depth}`];
    document.querySelector(`[data-idea="${idea.name}"]`).replaceChildren(el("p", { class: "gain" }, ...gain.flatMap((one) => [el("span", { class: "entry" }, one), " "])), ...cards);
  }
}

function crop(svg) {  // to its boxes: the title stands above it, the legend is that of the network's drawing
  const boxes = [...svg.querySelectorAll(".stage")].map((box) =>
    Object.fromEntries(["x", "y", "width", "height"].map((key) => [key, +box.getAttribute(key)])));
  const x = Math.min(...boxes.map((box) => box.x)) - 4, y = Math.min(...boxes.map((box) => box.y)) - 4;
  const width = Math.max(...boxes.map((box) => box.x + box.width)) + 4 - x;
  const height = Math.max(...boxes.map((box) => box.y + box.height)) + 4 - y;
  made(svg, { viewBox: `${x} ${y} ${width} ${height}`, width, height }, []);
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
const alike = (a, b) => a && b && same(a.row, b.row) && a.inner.length === b.inner.length &&
  a.inner.every((row, i) => same(row, b.inner[i]));
function side() {
  const [one, two] = [state.one, state.two].map((name) => parts(byName.get(name)));
  const lines = [];
  for (const name of aligned([...one.keys()], [...two.keys()])) {
    const [a, b] = [one.get(name), two.get(name)], inner = Math.max(a?.inner.length || 0, b?.inner.length || 0);
    const open = state.inner === name;
    const turn = () => { state.inner = open ? "" : name; side(); };
    const label = inner ? button((open ? "▾ " : "▸ ") + name, turn, { "aria-expanded": open, "data-pair": name }) : name;
    lines.push(pairLine(label, a?.row, b?.row, !alike(a, b), a?.inner.length, b?.inner.length));
    if (!open || !inner) continue;
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
  show("pair", table(`A ${called(state.one)}, B ${called(state.two)}`, [[t("row")], ...both], lines));
}
function pairLine(label, a, b, differs, insideA, insideB, inner = false) {
  const cells = (row, inside) => row ? [cell(row.layer || t("inside", { n: count(inside || 0) }), false), cell(by(row.output)),
    ...NARROW.map((key) => cell(SHOWN[key](row)))] : ["–", "", "", "", ""].map((text) => cell(text));
  const classes = [differs && "differs", inner && "inner"].filter(Boolean).join(" ");
  const sign = differs ? el("b", { "aria-label": t("differs_row") }, " ≠") : null;
  return el("tr", { class: classes || null }, el("th", { scope: "row" }, label, sign), ...cells(a, insideA), ...cells(b, insideB));
}

// ---- accuracy, operations, memory
const FAMILIES = { AlexNet: "#e69f00", VGG: "#d55e00", Inception: "#009e73", plain: "#999999", ResNet: "#0072b2",
  DenseNet: "#cc79a7", compact: "#56b4e9", yours: "currentColor" };
// names beside their dots where there is room: those of the front first, others only clear of every dot
function placed(points, width, bottom, x, y, r) {
  const taken = [], labels = [];
  const covers = (point, left, right, base) =>
    Math.hypot(Math.max(left - x(point), 0, x(point) - right), base - 4 - y(point)) <= r(point) + 3;
  for (const point of points) {
    const long = 6.4 * called(point.name).length, [at, up, away] = [x(point), y(point), r(point) + 3];
    const places = [[at - away - long, up - 3], [at + away, up + 4], [at - long / 2, up - away - 1], [at - long / 2, up + away + 9]];
    const free = places.find(([left, base]) => left > 40 && left + long < width && base < bottom &&
      !taken.some(([a, b, wide]) => left < a + wide && a < left + long && Math.abs(b - base) < 12) &&
      (point.front || !points.some((one) => covers(one, left, left + long, base))));
    if (!free) continue;
    taken.push([...free, long]);
    labels.push(words(...free, 11, called(point.name), { "font-weight": point.front ? 600 : 400, style: HALO, "aria-hidden": "true",
      "pointer-events": "none" }));
  }
  return labels;
}
function told_of(point) {  // a dot in words
  const known = point.conf ? `${t("conf_" + point.conf)}, ` : "";
  const costs = t("dot", { ops: scaled(point.ops, 1e9, 2), bytes: scaled(point.bytes, 1e6, 0), params: count(point.params) });
  return `${called(point.name)}: ${percent(point.top1.toFixed(1))}, ${costs}; ${point.protocol}; ${known}${point.where}`;
}
function comparison() {
  const points = [...data.story.published, ...data.story.own], ops = points.map((point) => Math.log10(point.ops));
  const tops = points.map((point) => point.top1), front = points.filter((point) => point.front).sort((a, b) => a.ops - b.ops);
  const width = Math.max(320, $("comparison-figure").clientWidth), height = Math.min(560, Math.max(380, width * 0.6));
  const [left, right] = [Math.min(...ops) - 0.1, Math.max(...ops) + 0.25];
  const [low, high] = [Math.floor(Math.min(...tops) - 1), Math.ceil(Math.max(...tops) + 2)];
  const across = (number) => 44 + (width - 60) * (Math.log10(number) - left) / (right - left);
  const upward = (top1) => height - 40 - (height - 70) * (top1 - low) / (high - low);
  const x = (point) => across(point.ops), y = (point) => upward(point.top1), r = (point) => 3 + Math.sqrt(point.bytes / 2e6);
  const ticks = [5e8, 1e9, 2e9, 5e9, 1e10, 2e10, 5e10].filter((tick) => Math.log10(tick) > left && Math.log10(tick) < right);
  const grid = [
    ...ticks.flatMap((tick) => [draw("line", { x1: across(tick), x2: across(tick), y1: 24, y2: height - 40, class: "axis" }),
      words(across(tick), height - 24, 12, `${tick / 1e9}${gap()}G`, { "text-anchor": "middle" })]),
    ...[...Array(9).keys()].map((i) => 10 * i + 10).filter((top) => top > low && top < high).flatMap((top) => [
      draw("line", { x1: 40, x2: width, y1: upward(top), y2: upward(top), class: "axis" }),
      words(36, upward(top) + 4, 12, `${top}`, { "text-anchor": "end" })])];
  const dots = [...points].sort((a, b) => b.bytes - a.bytes).map((point) =>
    mark(told_of(point), () => byName.has(point.name) && chooseNetwork(point.name, true),
      draw("circle", { cx: x(point), cy: y(point), r: r(point), fill: FAMILIES[point.family],
        "fill-opacity": point.compared ? 0.6 : 0, stroke: FAMILIES[point.family], "stroke-width": 1.5 })));
  const labels = placed([...front, ...points.filter((one) => !one.front)], width, height - 44, x, y, r);
  const families = Object.keys(FAMILIES).filter((family) => points.some((point) => point.family === family));
  show("comparison-figure",
    draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("comparison_label") },
      words(0, 14, 13, t("top1_axis")), words(width, height - 4, width < 500 ? 11 : 13, t("ops_axis"), { "text-anchor": "end" }), ...grid,
      draw("polyline", { class: "front", points: front.map((point) => `${x(point)},${y(point)}`).join(" ") }), ...dots, ...labels),
    el("figcaption", {}, ...families.flatMap((family) => keyed(FAMILIES[family], family === "yours" ? t("yours") : family))));
  const lines = [...front, ...data.story.own].map((point) => el("tr", {},
    el("th", { scope: "row" }, point.family === "yours" ? point.name : opener(point.name)), cell(point.top1.toFixed(1)),
    cell(scaled(point.ops, 1e9, 2)), cell(scaled(point.bytes, 1e6, 0)), cell(count(point.params)),
    cell(point.protocol, false), cell(point.where, false)));
  const labelled = [[t("network")], [t("top1"), true], [t("ops_whole"), true], [t("peak"), true], [t("params"), true],
    [t("protocol")], [t("where")]];
  show("front", el("h3", {}, t("front")), table(t("front"), labelled, lines));
}
