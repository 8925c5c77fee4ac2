"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const most = Number(document.body.dataset.mostBytes);
  let models = [], shown = null, latest = 0, stream = null;

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
    at("image").hidden = false;
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

  async function classify(blob) {
    const mine = ++latest;
    shown = blob;
    show(blob);
    if (blob.size > most) { say(`This file is too large: at most ${count(most)} bytes are taken.`, [], ""); return; }
    say("…", [], "");
    const began = performance.now();
    try {
      const model = at("model").value ? `&model=${encodeURIComponent(at("model").value)}` : "";
      const options = { method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" } };
      const [status, body] = await ask(`predict?top=5${model}`, options);
      if (mine !== latest) return;
      const one = body.predictions && body.predictions[0];
      if (status !== 200) { say((one && one.error) || body.detail, [], ""); return; }
      const took = (performance.now() - began).toFixed(0);
      say(`${one.top[0].class}, ${(100 * one.top[0].probability).toFixed(0)} %`, one.top,
        `${took} ms from here and back, ${body.ms.toFixed(0)} ms of it in the server. ${body.model}, ${body.protocol}.`);
    } catch (error) {
      if (mine === latest) say("The server does not answer.", [], "");
    }
  }

  async function camera() {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) { at("answer").textContent = "The camera cannot be used."; return; }
    at("video").srcObject = stream;
    for (const [id, hidden] of [["video", false], ["shoot", false], ["camera", true], ["image", true], ["hint", true]])
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
  at("camera").hidden = !(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
  at("camera").addEventListener("click", camera);
  at("shoot").addEventListener("click", shoot);
  at("model").addEventListener("change", () => { card(); if (shown) classify(shown); });
  at("token").addEventListener("change", () => { load(); if (shown) classify(shown); });
  load();
})();
