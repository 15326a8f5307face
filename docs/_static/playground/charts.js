/* The playground's pictures: each says how it is titled, what its curves are, and which data it takes from `shown`. */
"use strict";

const HEIGHT = 210;
const colours = {};

/** Take the curves' colours, and those of the axes, from the style sheet: they differ by light and dark. */
function readColours(element) {
  const style = getComputedStyle(element);
  for (const name of ["average", "data", "batch", "other"]) colours[name] = style.getPropertyValue(`--pg-${name}`).trim();
  colours.text = style.getPropertyValue("--color-foreground-secondary").trim();
  colours.grid = style.getPropertyValue("--color-background-border").trim();
}

const line = (label, colour, width, more = {}) =>
  ({ label, colour, stroke: () => colours[colour], width, points: { show: false }, spanGaps: true, ...more });
const dots = (label, colour, size) => ({
  label, colour, kind: "dots", stroke: () => colours[colour], paths: () => null,
  points: { show: true, size, width: 1, stroke: () => colours[colour], fill: () => colours[colour] },
});
const dashed = (label, colour, width) => line(label, colour, width, { kind: "dashed", dash: [3, 4] });

const overSteps = () => Array.from({ length: recording.steps }, (_, i) => i + 1);
/** Values that were taken at every second step, in rows of every step. */
const everySecond = (values) => Array.from({ length: recording.steps }, (_, i) => (i % 2 ? values[(i - 1) / 2] : null));

const CHARTS = [
  {
    id: "mean", title: "The average of the mean", x: "step", y: "mean of the feature",
    series: [dots("each batch", "batch", 3), line("the data", "data", 2), line("moving average", "average", 3)],
    data: ({ shown }) => [overSteps(), Array.from(shown.batchMean), everySecond(shown.trueMean), shown.averages.map((a) => a.mean)],
    note: ({ shown, state }) => `At step ${state.step}: average ${short(shown.now.mean)}, data ${short(shown.trueMean[state.step / 2 - 1])}`,
  },
  {
    id: "variance", title: "The average of the variance", x: "step", y: "variance of the feature",
    series: [dots("each batch", "batch", 3), line("the data", "data", 2), line("moving average", "average", 3)],
    data: ({ shown }) => [overSteps(), Array.from(shown.batchVariance), everySecond(shown.trueVariance), shown.averages.map((a) => a.variance)],
    note: ({ shown, state }) => `At step ${state.step}: average ${short(shown.now.variance)}, data ${short(shown.trueVariance[state.step / 2 - 1])}`,
  },
  {
    id: "distance", title: "How far off", x: "step", y: "standard deviations",
    series: [dashed("standard deviation", "other", 2), line("mean", "average", 3)],
    data: ({ shown }) => [overSteps(), everySecond(shown.distance.map((d) => d.deviation)), everySecond(shown.distance.map((d) => d.mean))],
    note: ({ shown, state }) => {
      const { mean, deviation } = shown.distance[state.step / 2 - 1];
      return `At step ${state.step}: mean ${mean.toFixed(3)}, standard deviation ${deviation.toFixed(3)}`;
    },
    range: { y: (u, low, high) => [0, Math.max(high || 0, 0.05) * 1.05] },
  },
  {
    id: "accuracy", title: "Accuracy in evaluation", x: "step", y: "share of test digits read",
    series: [dots("batch statistics", "other", 7), line("averages updated just before", "data", 2), line("your averages", "average", 3)],
    data: ({ shown }) => [shown.results.map((_, i) => (i + 1) * recording.every), shown.results.map((r) => r.batch),
      shown.results.map((r) => r.updated.accuracy), shown.results.map((r) => r.averages.accuracy)],
    note: ({ shown, state }) => {
      const at = shown.results[0].recordedAt;
      return `Recorded at momentum ${short(at.momentum)}, epsilon ${short(at.epsilon)}; step ${state.step}: ${percent(shown.results[state.step / recording.every - 1].averages.accuracy)}`;
    },
    range: { y: (u, low) => [Math.floor(Math.min(low ?? 0.9, 0.9) * 10) / 10, 1] },
  },
  {
    id: "gain", title: "Gain: what a feature is multiplied by", x: "variance", y: "gain, 1 / √(variance + ε)", steps: false,
    series: [line("at this epsilon", "data", 1.5), dots("features of this layer", "batch", 5), dots("this feature, by its average", "average", 10)],
    data: gains,
    note: ({ shown }) => {
      const blank = shown.variances.filter((v) => v === 0).length;
      const text = `This feature ${short(batchNorm.gain(shown.now.variance, shown.epsilon))}, the limit ${short(1 / Math.sqrt(shown.epsilon))}`;
      return blank ? `${text}; ${blank} pixels of variance 0 are at the limit` : text;
    },
    log: true,
  },
  {
    id: "images", title: `What test images' feature becomes`, x: "in training, by this step's batch", y: "in evaluation", steps: false,
    series: [dashed("were both the same", "data", 1.5), dots("a test image", "average", 6)],
    data: ({ shown }) => {
      const x = shown.images.map((image) => image.training);
      return [x, x, shown.images.map((image) => image.evaluation)];
    },
    note: ({ shown }) => {
      const worst = shown.images.reduce((a, b) => (Math.abs(b.training - b.evaluation) > Math.abs(a.training - a.evaluation) ? b : a));
      return `The image that differs most: ${worst.training.toFixed(2)} in training, ${worst.evaluation.toFixed(2)} in evaluation`;
    },
  },
];

/** The curve over all variances, the layer's features on it, and the chosen feature with the variance of its average. */
function gains({ shown }) {
  const { variances, now, epsilon } = shown;
  const curve = Array.from({ length: 61 }, (_, i) => 10 ** (-9 + i / 5.45));
  const features = Array.from(variances).filter((v) => v > 0);
  const points = [...curve.map((v) => [v, 0]), ...features.map((v) => [v, 1]), [Math.max(now.variance, 1e-9), 2]].sort((a, b) => a[0] - b[0]);
  const gain = points.map(([v]) => batchNorm.gain(v, epsilon));
  const only = (kind) => points.map(([, of], i) => (of === kind ? gain[i] : null));
  return [points.map(([v]) => v), gain, only(1), only(2)];
}

/** A figure with a caption that names each curve, and the chart in it. */
function build(chart, context) {
  const figure = document.createElement("figure");
  figure.id = `pg-chart-${chart.id}`;
  const keys = chart.series.map((s) => `<span class="pg-key ${s.kind ?? ""}" style="--key: var(--pg-${s.colour})">${s.label}</span>`);
  figure.innerHTML = `<figcaption><b>${chart.title}</b>${keys.join(" ")}<span class="pg-note"></span></figcaption>`;
  document.getElementById("pg-charts").append(figure);
  const axis = (label, more) => ({ label, labelSize: 18, labelFont: "12px system-ui, sans-serif", font: "12px system-ui, sans-serif",
    stroke: () => colours.text, grid: { stroke: () => colours.grid, width: 1 }, ticks: { stroke: () => colours.grid, width: 1 }, ...more });
  const decades = (from, to, step) => Array.from({ length: (to - from) / step + 1 }, (_, i) => 10 ** (from + i * step));
  const atDecades = (...range) => (chart.log ? { splits: () => decades(...range) } : {});
  const numbers = { values: (u, splits) => splits.map((v) => (v === null ? "" : short(v))) };
  const scale = chart.log ? { distr: 3, time: false } : { time: false };
  const plot = new uPlot({
    width: figure.clientWidth || 300, height: HEIGHT, legend: { show: false }, cursor: { show: false }, padding: [8, 18, 0, 0],
    scales: { x: { ...scale }, y: { ...scale, ...(chart.range?.y && { range: chart.range.y }) } },
    axes: [axis(chart.x, { size: 30, ...atDecades(-9, 3, 3), ...numbers }), axis(chart.y, { size: 50, ...atDecades(-2, 4, 1), ...numbers })],
    series: [{}, ...chart.series.map(({ colour, kind, ...series }) => series)],
    hooks: { draw: chart.steps === false ? [] : [(u) => drawMarks(u, context.state)] },
  }, chart.data(context), figure);
  plot.root.setAttribute("role", "img");
  const note = figure.querySelector(".pg-note");
  new ResizeObserver(() => { if (figure.clientWidth) plot.setSize({ width: figure.clientWidth, height: HEIGHT }); }).observe(figure);
  const redraw = () => {
    plot.setData(chart.data(context));
    note.textContent = chart.note(context);
    plot.root.setAttribute("aria-label", `${chart.title}. ${note.textContent}`);
  };
  return { plot, redraw };
}

/** The step that is looked at, and the updates. */
function drawMarks(u, state) {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  const upright = (step, colour, dash, width) => {
    const x = Math.round(u.valToPos(step, "x", true));
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.lineWidth = width * ratio;
    ctx.setLineDash(dash.map((length) => length * ratio));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  };
  for (const step of state.updates) upright(step, colours.average, [5, 4], 1.5);
  upright(state.step, colours.text, [], 1);
}
