// The receptive field of one unit, over an image; and what a model makes of that image.
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
  const image = network === model?.network && !state.file ? PNG + model.view : state.image;
  const branches = by(row.field) !== by(row.least);
  const svg = draw("svg", { viewBox: `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`, tabindex: 0,
    role: "application", "aria-label": t("field_label"), "aria-describedby": "unit",
    onpointermove: (event) => point(event, svg, row), onkeydown: step },
    draw("image", { href: image, width, height, preserveAspectRatio: "xMidYMid slice" }),
    draw("path", { d: around + inside, "fill-rule": "evenodd", fill: "var(--page)", "fill-opacity": 0.5 }),
    draw("rect", { ...large, fill: "none", stroke: "#e6550d", "stroke-width": line }),
    branches ? draw("rect", { ...small, fill: "none", stroke: "#56b4e9", "stroke-width": line,
      "stroke-dasharray": `${3 * line} ${2 * line}` }) : null);
  if ($("field-figure").firstChild?.contains(document.activeElement)) setTimeout(() => svg.focus({ preventScroll: true }));
  show("field-figure", svg);
  Object.assign($("down"), { max: rows_ - 1, value: state.y });
  Object.assign($("across"), { max: columns - 1, value: state.x });
  const span = (axis, index) => seen(row, row.field, axis, index).join("\u2060–\u2060");
  const sentences = [t("unit", { network: network.name, row: row.name, y: state.y + 1, x: state.x + 1, rows: rows_, columns,
    field: by(row.field), across: span(1, state.x), down: span(0, state.y), input: `${height}×${width}` })];
  if (Math.max(...row.field) > Math.max(height, width)) sentences.push(t("unit_beyond"));
  if (branches) sentences.push(t("unit_least", { least: by(row.least) }));
  show("unit", sentences.join(" "));
  show("map", draw("svg", { viewBox: `0 0 ${columns} ${rows_}`, role: "img", "aria-label": t("map", { rows: rows_, columns }) },
    draw("rect", { width: columns, height: rows_, fill: "var(--raised)", stroke: "var(--line)", "stroke-width": columns / 80 }),
    draw("rect", { x: state.x, y: state.y, width: Math.max(1, columns / 60), height: Math.max(1, rows_ / 60), fill: "#e6550d" })),
    el("figcaption", {}, t("map", { rows: rows_, columns })));
}
function passed() {  // what the reader's model makes of the image, in the chosen row
  if (!model) return;
  const own = state.own, values = { model: model.network.name, protocol: model.protocol, file: own?.file };
  const answers = (own || model).answers.map(([name, share]) => el("li", {}, `${name}: ${percent(scaled(100 * share, 1, 1))}`));
  const here = state.network === model.network.name, row = stageOf(state.row), maps = here ? model.maps[row] || [] : [];
  const shown = maps.map(({ channel, low, high, png }) => {
    const said = t("channel", { channel, low: low.toPrecision(3), high: high.toPrecision(3) });
    return el("figure", {}, el("img", { src: PNG + png, alt: said }), el("figcaption", {}, said));
  });
  show("passed", el("h3", {}, t(own ? "passed_own" : "passed", values)),
    own?.said ? el("p", { role: "status" }, own.said()) : null, el("ol", { id: "answers", "aria-live": "polite" }, ...answers),
    browser && !own ? el("p", { class: "trial" }, t("drop_own")) : null, own ? el("p", {}, t("maps_other")) : null,
    el("p", {}, here ? t(maps.length ? "maps_of" : "maps_none", { row, n: maps.length }) : opener(model.network.name)),
    el("div", { class: "maps" }, ...shown));
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
    image.onload = () => {
      Object.assign(state, { image: reader.result, file: file.name });
      $("file-said").textContent = file.name;
      field();
      classify(file);
    };
    image.onerror = () => { $("file-said").textContent = t("not_image", { file: file.name }); };
    image.src = reader.result;
  };
  reader.readAsDataURL(file);
}
function effective() {
  const lines = data.story.experiments["stacked-3x3"]?.lines || [];
  if (!lines.length) return;
  const xs = lines.flatMap((line) => line[1]), low = Math.min(...xs), wide = Math.max(...xs) - low;
  const colours = ["#0072b2", "#d55e00", "#009e73"];
  const across = (at) => 40 + 430 * (at - low) / wide, upward = (share) => 190 - 170 * share;  // the largest gradient is 1
  const labelled = [low, 0, low + wide].map((at) => words(across(at), 207, 12, `${at}`, { "text-anchor": "middle" }));
  const grid = [0, 0.5, 1].flatMap((share) => [words(32, upward(share) + 4, 12, `${share}`, { "text-anchor": "end" }),
    draw("line", { x1: 40, x2: 470, y1: upward(share), y2: upward(share), class: "axis" })]);
  show("effective", draw("svg", { viewBox: "0 0 480 220", role: "img", "aria-label": t("effective"), style: "max-width:34rem" },
    ...grid, ...labelled,
    ...lines.map(([name, x, y], i) => draw("polyline", { fill: "none", stroke: colours[i % 3], "stroke-width": 2,
      points: x.map((at, n) => `${across(at)},${upward(y[n])}`).join(" ") }))),
    el("figcaption", {}, ...lines.flatMap(([name], i) => keyed(colours[i % 3], name)), t("effective")));
}
