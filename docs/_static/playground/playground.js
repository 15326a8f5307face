/* The playground: settings, the sentence, and the pictures. Its numbers come from averages.js and the recording. */
"use strict";

const MEMORIES = [1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200,
  250, 300, 400, 500, 600, 800, 1000];

/** The recording with its base64 arrays as typed arrays. */
function decoded(recording) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const short = new Set(["right", "loss"]);
  const runs = recording.runs.map((run) => Object.fromEntries(Object.entries(run).map(([name, value]) => {
    if (typeof value !== "string") return [name, value];
    return [name, short.has(name) ? new Uint16Array(bytes(value)) : new Float32Array(bytes(value))];
  })));
  return { ...recording, runs };
}

const recording = decoded(window.playgroundRecording);
const marks = recording.steps / recording.every;
const nearest = (values, wanted) => values.reduce((best, value, i) =>
  Math.abs(Math.log(value / wanted)) < Math.abs(Math.log(values[best] / wanted)) ? i : best, 0);

/* ---- the setting, and its form in the address ---------------------------------------------------------------- */

const initial = () => ({ memory: 100, exponent: -3, step: recording.steps / 2, rate: 0.5, batch: 64, counted: true,
  feature: 4, updates: [] });

function fromAddress() {
  const state = initial();
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (name) => (given.has(name) && given.get(name) !== "" ? Number(given.get(name)) : NaN);
  const one = (name, allowed) => { if (allowed.includes(number(name))) state[name] = number(name); };
  const momentum = number("momentum");
  if (momentum >= 0 && momentum < 1) state.memory = MEMORIES[nearest(MEMORIES, 1 / (1 - momentum))];
  const exponent = Math.log10(number("epsilon"));
  if (Number.isFinite(exponent)) state.exponent = Math.round(Math.min(0, Math.max(-8, exponent)) * 2) / 2;
  const atMark = (step) => step >= 1 && step <= recording.steps;
  const snapped = (step) => Math.max(1, Math.round(step / recording.every)) * recording.every;
  if (atMark(number("step"))) state.step = snapped(number("step"));
  one("rate", recording.runs.map((run) => run.rate));
  one("batch", recording.runs.map((run) => run.batch));
  one("feature", recording.features.map((_, i) => i));
  if (given.has("start")) state.counted = given.get("start") !== "0-and-1";
  const updates = (given.get("updates") ?? "").split(",").map(Number).filter(atMark).map(snapped);
  state.updates = [...new Set(updates)].sort((a, b) => a - b);
  return state;
}

function toAddress(state) {
  const parts = { momentum: short(momentumOf(state)), epsilon: short(10 ** state.exponent), step: state.step, rate: state.rate,
    batch: state.batch, feature: state.feature, start: state.counted ? "counted" : "0-and-1" };
  if (state.updates.length) parts.updates = state.updates.join(",");
  return "#" + Object.entries(parts).map((pair) => pair.join("=")).join("&");
}

const momentumOf = (state) => 1 - 1 / state.memory;

/* ---- everything that a setting leads to ------------------------------------------------------------------------ */

const runOf = (state) => recording.runs.find((run) => run.rate === state.rate && run.batch === state.batch);
const row = (array, index, length) => array.subarray(index * length, (index + 1) * length);

/** All numbers that the page shows for a setting. */
function computed(state) {
  const run = runOf(state), { steps, every } = recording;
  const batchMean = row(run.batchMean, state.feature, steps), batchVariance = row(run.batchVariance, state.feature, steps);
  const trueMean = row(run.trueMean, state.feature, steps / 2), trueVariance = row(run.trueVariance, state.feature, steps / 2);
  const updates = new Map(state.updates.map((step) => [step,
    { mean: trueMean[step / 2 - 1], variance: trueVariance[step / 2 - 1], weight: recording.updateWeight, squares: 0 }]));
  const momentum = momentumOf(state), epsilon = 10 ** state.exponent;
  const averages = batchNorm.overSteps(batchMean, batchVariance, momentum, state.counted, updates);
  const distance = Array.from(trueMean, (mean, i) => batchNorm.distance(averages[2 * i + 1], mean, trueVariance[i]));
  const at = state.step - 1, now = averages[at];
  const inputs = row(run.imageInputs, state.feature * marks + state.step / every - 1, recording.imagesFollowed);
  const images = Array.from(inputs, (x) => ({
    training: batchNorm.normalize(x, batchMean[at], batchVariance[at], epsilon),
    evaluation: batchNorm.normalize(x, now.mean, now.variance, epsilon),
  })).sort((a, b) => a.training - b.training);
  const layer = recording.layers.indexOf(recording.features[state.feature].layer);
  const variances = row(run.layerVariance, layer * marks + state.step / every - 1, run.layerVariance.length / marks / recording.layers.length);
  const results = Array.from({ length: marks }, (_, mark) => resultsAt(run, state, mark + 1));
  return { run, momentum, epsilon, batchMean, batchVariance, trueMean, trueVariance, averages, distance, now, images,
    variances, results };
}

/** Accuracy and loss at a mark: with the averages, and with those that an update at the mark would make. */
function resultsAt(run, state, mark) {
  const { memories, epsilons, every } = recording;
  const momentum = nearest(memories, state.memory), epsilon = nearest(epsilons, 10 ** state.exponent);
  const last = state.updates.filter((step) => step <= mark * every).at(-1);
  // The blocks of earlier marks hold two starts and their updates each.
  const before = (mark - 1) * 2 + (mark - 1) * mark / 2;
  const read = (history) => {
    const at = ((before + history) * memories.length + momentum) * epsilons.length + epsilon;
    return { accuracy: run.right[at] / recording.images, loss: run.loss[at] / 1000 };
  };
  return {
    averages: read(last ? 1 + last / every : Number(state.counted)),
    updated: read(1 + mark),
    batch: run.batchRight[mark - 1] / recording.images,
    recordedAt: { momentum: 1 - 1 / memories[momentum], epsilon: epsilons[epsilon] },
  };
}

/* ---- the sentence ---------------------------------------------------------------------------------------------- */

const short = (value) => (value !== 0 && Math.abs(value) < 1e-3 ? Number(value.toPrecision(2)).toExponential() : String(Number(value.toPrecision(3))));
const percent = (share) => (100 * share).toFixed(1) + " %";

/** What is seen, and why: {text, lesson}. */
function sentence(state, shown) {
  const { now, epsilon, momentum } = shown;
  const index = state.step / 2 - 1;
  const off = shown.distance[index].mean;
  const ratio = now.variance / shown.trueVariance[index];
  const result = shown.results[state.step / recording.every - 1];
  const [why, lesson] = reason(state, shown, off, ratio);
  const feature = recording.features[state.feature];
  const text = [
    momentum === 0 ? "Momentum 0 remembers one batch." : `Momentum ${short(momentum)} remembers about ${short(state.memory)} batches.`,
    `At step ${state.step} the average of the mean is ${off.toFixed(3)} standard deviations from the data's, that of the variance ${ratio.toFixed(3)} of the data's.`,
    why,
    `Evaluation reads ${percent(result.averages.accuracy)} of ${recording.images} test digits (loss ${result.averages.loss.toFixed(3)}), with averages updated at this step ${percent(result.updated.accuracy)} (${result.updated.loss.toFixed(3)}).`,
    `This feature's gain is ${short(batchNorm.gain(now.variance, epsilon))}; epsilon ${short(epsilon)} allows ${short(1 / Math.sqrt(epsilon))} at most.`,
  ];
  const about = feature.layer === "/pixels" && epsilon < recording.trainedWith ? "lesson-epsilon" : lesson;
  return { text: text.join(" "), lesson: Math.abs(Math.log10(epsilon / recording.trainedWith)) >= 2 ? "lesson-epsilon" : about };
}

function reason(state, shown, off, ratio) {
  const since = state.updates.filter((step) => step <= state.step).at(-1);
  if (since === state.step) return ["It was updated at this very step: evaluation sees the data as they are.", "lesson-update-averages"];
  const left = shown.momentum ** state.step;
  if (!state.counted && since === undefined && left > 0.05) {
    return [`${percent(left)} of it is still its start, 0 and 1.`, "lesson-momentum"];
  }
  const noise = batchNorm.noise(shown.now, state.batch);
  if (off > 2 * noise) {
    const link = since !== undefined ? "lesson-update-averages" : state.rate === 0.5 ? "lesson-learning-rate" : "lesson-momentum";
    return [`Noise alone would make about ${noise.toFixed(3)}: the rest is lag, the weights have moved on.`, link];
  }
  if (state.batch === 4 && ratio < 1) {
    return ["A batch of 4 shows 3/4 of the variance on average, (B − 1)/B.", "lesson-small-batches"];
  }
  return [`Noise alone would make about ${noise.toFixed(3)}: no lag to be seen.`, "lesson-momentum"];
}

/* ---- the form -------------------------------------------------------------------------------------------------- */

const element = (id) => document.getElementById(id);

/** Radio buttons in the fieldset `name`, one for each [value, label]. */
function radios(name, choices, changed) {
  for (const [value, label] of choices) {
    const input = Object.assign(document.createElement("input"), { type: "radio", name: `pg-${name}`, value });
    const holder = document.createElement("label");
    holder.append(input, label);
    input.addEventListener("change", () => changed(value));
    element(`pg-${name}`).append(holder);
  }
}

const checked = (name, value) => {
  document.querySelector(`input[name="pg-${name}"][value="${value}"]`).checked = true;
};

/** Show the state in the form. */
function showForm(state) {
  const memory = MEMORIES.indexOf(state.memory), momentum = short(momentumOf(state)), epsilon = short(10 ** state.exponent);
  const say = (id, value, text) => {
    element(id).value = value;
    element(id).setAttribute("aria-valuetext", text);
    element(`${id}-is`).textContent = text;
  };
  say("pg-momentum", memory, `${momentum} (${short(state.memory)} ${state.memory === 1 ? "batch" : "batches"})`);
  say("pg-epsilon", state.exponent, epsilon);
  say("pg-step", state.step / recording.every, String(state.step));
  checked("rate", state.rate);
  checked("batch", state.batch);
  checked("start", state.counted ? "counted" : "0-and-1");
  element("pg-feature").value = state.feature;
  element("pg-update").disabled = state.updates.includes(state.step);
  element("pg-forget").disabled = state.updates.length === 0;
}

/** Connect each control with the part of the state that it sets. */
function connect(context, changed) {
  const set = (change) => changed(Object.assign(context.state, change));
  element("pg-momentum").max = MEMORIES.length - 1;
  Object.assign(element("pg-step"), { min: 1, max: marks, step: 1 });
  const slider = (id, change) => element(id).addEventListener("input", (event) => set(change(Number(event.target.value))));
  slider("pg-momentum", (value) => ({ memory: MEMORIES[value] }));
  slider("pg-epsilon", (value) => ({ exponent: value }));
  slider("pg-step", (value) => ({ step: value * recording.every }));
  const values = (name) => [...new Set(recording.runs.map((run) => run[name]))].map((value) => [value, String(value)]);
  radios("rate", values("rate"), (rate) => set({ rate }));
  radios("batch", values("batch"), (batch) => set({ batch }));
  radios("start", [["counted", "with the first batch, counted"], ["0-and-1", "at 0 and 1"]], (start) => set({ counted: start === "counted" }));
  element("pg-feature").append(...recording.features.map(({ name }, i) => new Option(name, i)));
  element("pg-feature").addEventListener("change", (event) => set({ feature: Number(event.target.value) }));
  element("pg-update").addEventListener("click", () => {
    const { updates, step } = context.state;
    set({ updates: [...updates, step].sort((a, b) => a - b) });
  });
  element("pg-forget").addEventListener("click", () => set({ updates: [] }));
}

/** Links to the lessons, by label, from the list on the page. */
function lessonLinks() {
  const links = [...document.querySelectorAll(".pg-lessons a")];
  return Object.fromEntries(links.map((link) => [new URL(link.href).hash.slice(1), link]));
}

/** `task` after `wait` milliseconds without another call. */
function whenQuiet(task, wait) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(task, wait);
  };
}

/* ---- all together ------------------------------------------------------------------------------------------------ */

function start() {
  const root = document.querySelector(".pg");
  document.body.classList.add("pg-page");
  root.hidden = false;
  const links = lessonLinks();
  const context = { state: fromAddress() };
  const remember = whenQuiet(() => history.replaceState(null, "", toAddress(context.state)), 200);
  const speak = whenQuiet(() => { element("pg-spoken").textContent = element("pg-sentence").textContent; }, 600);

  const show = () => {
    context.shown = computed(context.state);
    showForm(context.state);
    const { text, lesson } = sentence(context.state, context.shown);
    element("pg-sentence").textContent = text;
    element("pg-lesson").textContent = links[lesson].textContent;
    element("pg-lesson").href = links[lesson].href;
    for (const chart of context.charts ?? []) chart.redraw();
  };
  connect(context, () => { show(); remember(); speak(); });
  show();
  readColours(root);
  context.charts = CHARTS.map((chart) => build(chart, context));
  show();

  const recolour = () => {
    readColours(root);
    for (const { plot } of context.charts) plot.redraw();
  };
  new MutationObserver(recolour).observe(document.body, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  addEventListener("hashchange", () => { context.state = fromAddress(); show(); });
  window.pybnPlayground = context;  // for the console, and for the test that holds what is drawn against pybn
}

start();
