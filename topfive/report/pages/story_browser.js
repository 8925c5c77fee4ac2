// The reader's own image, classified in this browser by the exported network: on pages made with --browser alone.
// ---- the runtime and the network, loaded when the first image is there
const browser = data.browser;  // or null
const loadedFrom = (name) => new Promise((done, failed) => {
  const script = el("script", { src: browser.folder + name, onload: done,
    onerror: () => failed(new Error(t("not_beside", { file: decodeURI(browser.folder) + name }))) });
  document.head.append(script);
});
const decoded = (text) => Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
let session = null;  // a promise
async function opened() {
  for (const name of browser.scripts) await loadedFrom(name);
  const { module, wasm, ...pieces } = globalThis.topfive;
  delete globalThis.topfive;  // why: the browser can let go of the text
  const parts = Object.values(pieces).map(decoded), file = new Uint8Array(sum(parts.map((part) => part.length)));
  parts.reduce((at, part) => { file.set(part, at); return at + part.length; }, 0);
  const address = URL.createObjectURL(new Blob([module], { type: "text/javascript" }));
  ort.env.logLevel = "error";
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: decoded(wasm).buffer, wasmPaths: { mjs: address } });
  // why basic: more would make one product of a transposition and a product, which refuses a batch of no images, as the
  // resizing has (one order of its two steps is for tall images alone)
  return ort.InferenceSession.create(file, { executionProviders: ["wasm"], graphOptimizationLevel: "basic" });
}

// ---- one image
async function pixels(file) {  // as `predict` decodes it: N x H x W x 3, what is transparent over white
  const turned = browser.upright ? "from-image" : "none";
  const image = await createImageBitmap(file, { imageOrientation: turned, colorSpaceConversion: "none" });
  const canvas = el("canvas", { width: image.width, height: image.height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, image.width, image.height);
  pen.drawImage(image, 0, 0);
  const seen = pen.getImageData(0, 0, image.width, image.height).data, rgb = new Uint8Array(seen.length / 4 * 3);
  for (let from = 0, to = 0; from < seen.length; from += 4) {
    rgb[to++] = seen[from];
    rgb[to++] = seen[from + 1];
    rgb[to++] = seen[from + 2];
  }
  return new ort.Tensor("uint8", rgb, [1, image.height, image.width, 3]);
}
let before = Promise.resolve();  // the runtime takes one image at a time
function classify(file) {
  if (!browser) return;
  const own = state.own = { file: file.name, said: () => t("computing"), answers: [] };
  passed();
  before = before.then(async () => {
    try {
      session ??= opened();
      const found = (await (await session).run({ [browser.input]: await pixels(file) }))[browser.output].data;
      const order = [...found.keys()].sort((a, b) => found[b] - found[a]);
      own.answers = order.slice(0, 5).map((i) => [browser.classes[i], found[i]]);
      own.said = null;
    } catch (error) {
      own.said = () => t("not_classified", { file: file.name, why: error.message });
    }
    if (state.own === own) passed();
  });
}
