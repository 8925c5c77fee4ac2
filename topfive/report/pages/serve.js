"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  // what is drawn where a value is 0, 85, 170 and 255: dark on light and light on dark are told apart without colour
  const FIRE = [[60, 12, 98], [170, 40, 110], [246, 120, 80], [252, 246, 170]], STRENGTH = 0.75;
  const most = Number(document.body.dataset.mostBytes);
  let models = [], shown = null, found = null, latest = 0, stream = null;

  const ask = (path, options = {}) => {
    const token = at("token").value;
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    return fetch(path, { ...options, headers }).then(async (response) => {
      at("token").hidden = at("token").hidden && response.status !== 401;
      return [response.status, await response.json()];
    });
  };
  const element = (kind, text, name) => {
    const made = document.createElement(kind);
    made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const count = (n) => (n >= 1e9 ? `${(n / 1e9).toPrecision(3)} billion` : n >= 1e6 ? `${(n / 1e6).toPrecision(3)} million`
    : n.toLocaleString("en"));

  function card() {
    const model = models.find((one) => one.name === at("model").value) || models[0];
    at("card").replaceChildren();
    if (!model || !model.card) return;
    const c = model.card;
    const facts = [
      ["Name", model.name], ["Network", c.network],
      ["Cost", `${count(c.params)} parameters, ${count(c.macs)} multiply-adds for a view`],
      ["Receptive field", `${c.receptive_field} pixels at most, of an image of ${c.size}`],
      ["Classes", count(c.classes)], ["Protocol", c.protocol + (c.views > 1 ? `, ${c.views} views` : "")],
      ["Trained on", c.trained_on], ["Weights", c.origin], ["Backend", c.backend], ["SHA-256", c.sha256],
    ];
    for (const [what, said] of facts) if (said) at("card").append(element("dt", what), element("dd", said));
  }

  function load() {
    ask("models").then(([status, body]) => {
      if (status !== 200) { at("answer").textContent = body.detail; return; }
      const before = at("model").value;
      models = body;
      at("answer").textContent = "";
      at("model").replaceChildren(...models.map((one) => element("option", one.name)));
      if (before) at("model").value = before;
      at("model").hidden = models.length < 2;
      card();
    }).catch(() => { at("answer").textContent = "The server does not answer."; });
  }

  function show(blob) {
    if (at("image").src) URL.revokeObjectURL(at("image").src);
    at("image").src = URL.createObjectURL(blob);
    at("frame").hidden = false;
    at("hint").hidden = true;
  }

  function say(answer, top, latency) {
    at("answer").textContent = answer;
    at("latency").textContent = latency;
    at("top").replaceChildren(...top.map((guess) => {
      const item = document.createElement("li"), line = element("div", "", "line"), bar = element("div", "", "bar");
      line.append(element("span", guess.class), element("span", `${(100 * guess.probability).toFixed(1)} %`));
      bar.append(document.createElement("div"));
      bar.firstChild.style.width = `${100 * guess.probability}%`;
      item.append(line, bar);
      return item;
    }));
  }

  /** The values of a heat map as a small image, each with a colour that is the denser the larger it is. */
  function colours(map) {
    const small = element("canvas", ""), pixels = new ImageData(map.width, map.height);
    [small.width, small.height] = [map.width, map.height];
    map.values.forEach((value, i) => {
      const place = (value / 255) * (FIRE.length - 1), low = Math.min(FIRE.length - 2, Math.floor(place));
      const colour = FIRE[low].map((one, c) => one + (FIRE[low + 1][c] - one) * (place - low));
      pixels.data.set([...colour, STRENGTH * value], 4 * i);
    });
    small.getContext("2d").putImageData(pixels, 0, 0);
    return small;
  }

  /** Lay the heat map of the last answer over the image, or take it away. */
  function locate() {
    const on = at("where").checked && found, canvas = at("map");
    const map = on && at("image").naturalWidth && found.heatmap; // not every browser shows every image
    canvas.hidden = !map;
    at("image").classList.toggle("mapped", Boolean(map));
    at("image").style.imageOrientation = found && found.heatmap && !found.heatmap.upright ? "none" : "";
    at("legend").textContent = on && found.no_heatmap ? `No heat map: ${found.no_heatmap}.` : "";
    if (!map) return;
    const sharp = window.devicePixelRatio || 1;
    const width = canvas.width = Math.round(at("image").clientWidth * sharp);
    const height = canvas.height = Math.round(at("image").clientHeight * sharp);
    const draw = canvas.getContext("2d");
    const box = (r) => [r.left * width, r.top * height, (r.right - r.left) * width, (r.bottom - r.top) * height];
    draw.fillStyle = "rgb(0 0 0 / .55)";
    draw.fillRect(0, 0, width, height);
    draw.clearRect(...box(map.view));
    draw.imageSmoothingQuality = "high";
    draw.drawImage(colours(map), ...box(map.view));
    const [x, y, w, h] = box(map.field), line = 2 * sharp;
    for (const [colour, inside] of [["#000", 1.5 * line], ["#fff", line / 2]]) {
      draw.strokeStyle = colour;
      draw.lineWidth = line;
      draw.strokeRect(x + inside, y + inside, Math.max(1, w - 2 * inside), Math.max(1, h - 2 * inside));
    }
    at("legend").textContent = legend(map, found.top[0].class);
  }

  function legend(map, name) {
    const { view, field } = map, sides = ["left", "top", "right", "bottom"];
    const same = (a, b) => sides.every((side) => Math.abs(a[side] - b[side]) < 1e-6);
    const share = (a, b) => `${Math.round(100 * (b - a))} %`;
    const part = `${share(field.left, field.right)} of the width, ${share(field.top, field.bottom)} of the height`;
    return `The lighter, the more it speaks for ${name} (Grad-CAM at ${map.row || "the image"}). `
      + "The frame is the receptive field of the lightest place: "
      + `${same(view, field) ? "all that the network sees" : part}.`
      + (same(view, { left: 0, top: 0, right: 1, bottom: 1 }) ? "" : " The dark edge is not shown to the network.");
  }

  async function classify(blob) {
    const mine = ++latest, where = at("where").checked;
    shown = blob;
    found = null;
    show(blob);
    locate();
    if (blob.size > most) { say(`This file is too large: at most ${count(most)} bytes are taken.`, [], ""); return; }
    say("…", [], "");
    const began = performance.now();
    try {
      const model = at("model").value ? `&model=${encodeURIComponent(at("model").value)}` : "";
      const options = { method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" } };
      const [status, body] = await ask(`predict?top=5${where ? "&heatmap=true" : ""}${model}`, options);
      if (mine !== latest) return;
      const one = body.predictions && body.predictions[0];
      if (status !== 200) { say((one && one.error) || body.detail, [], ""); return; }
      const took = (performance.now() - began).toFixed(0), included = where ? ", the heat map included" : "";
      found = one;
      locate();
      say(`${one.top[0].class}, ${(100 * one.top[0].probability).toFixed(0)} %`, one.top,
        `${took} ms from here and back, ${body.ms.toFixed(0)} ms of it in the server${included}. `
        + `${body.model}, ${body.protocol}.`);
    } catch (error) {
      if (mine === latest) say("The server does not answer.", [], "");
    }
  }

  async function camera() {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) { at("answer").textContent = "The camera cannot be used."; return; }
    at("video").srcObject = stream;
    for (const [id, hidden] of [["video", false], ["shoot", false], ["camera", true], ["frame", true], ["hint", true]])
      at(id).hidden = hidden;
  }

  function shoot() {
    const video = at("video"), canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    for (const track of stream.getTracks()) track.stop();
    for (const [id, hidden] of [["video", true], ["shoot", true], ["camera", false]]) at(id).hidden = hidden;
    canvas.toBlob((blob) => classify(blob), "image/jpeg", 0.95);
  }

  at("file").addEventListener("change", () => { if (at("file").files.length) classify(at("file").files[0]); });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) classify(event.dataTransfer.files[0]);
    });
  at("image").addEventListener("load", locate);
  window.addEventListener("resize", locate);
  at("where").addEventListener("change", () => {
    if (at("where").checked && found && !found.heatmap && !found.no_heatmap) classify(shown); else locate();
  });
  at("camera").hidden = !(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
  at("camera").addEventListener("click", camera);
  at("shoot").addEventListener("click", shoot);
  at("model").addEventListener("change", () => { card(); if (shown) classify(shown); });
  at("token").addEventListener("change", () => { load(); if (shown) classify(shown); });
  load();
})();
