// Values under the pointer, on all charts at once: what happened to the rank when the loss jumped?
"use strict";
const charts = [...document.querySelectorAll(".chart")].map((figure) => ({
  svg: figure.querySelector("svg.plot"),
  hair: figure.querySelector(".hair"),
  outputs: [...figure.querySelectorAll("output")],
  step: figure.querySelector(".step"),
  data: JSON.parse(figure.dataset.curves),
  left: Number(figure.dataset.left),
  right: Number(figure.dataset.right),
}));

function nearest(steps, wanted) {
  let low = 0, high = steps.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < wanted) low = middle + 1; else high = middle;
  }
  return low > 0 && wanted - steps[low - 1] < steps[low] - wanted ? low - 1 : low;
}

function show(step) {
  for (const chart of charts) {
    const { from, to, series } = chart.data;
    const x = chart.left + (step - from) / Math.max(1, to - from) * (chart.right - chart.left);
    chart.hair.setAttribute("x1", x);
    chart.hair.setAttribute("x2", x);
    chart.hair.removeAttribute("visibility");
    chart.step.textContent = ` at step ${Math.round(step)}`;
    series.forEach(({ steps, values }, i) => { chart.outputs[i].value = values[nearest(steps, step)]; });
  }
}

function reset() {
  for (const chart of charts) {
    chart.hair.setAttribute("visibility", "hidden");
    chart.step.textContent = "";
    chart.outputs.forEach((output) => { output.value = output.defaultValue; });
  }
}

for (const chart of charts) {
  const { from, to } = chart.data;
  let at = to;
  chart.svg.addEventListener("pointermove", (event) => {
    const box = chart.svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * chart.svg.viewBox.baseVal.width;
    const share = (x - chart.left) / (chart.right - chart.left);
    at = from + Math.min(1, Math.max(0, share)) * (to - from);
    show(at);
  });
  for (const end of ["pointerleave", "blur"]) {
    chart.svg.addEventListener(end, () => { at = to; reset(); });
  }
  chart.svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    at = Math.min(to, Math.max(from, at + move * (to - from) / 50));
    show(at);
  });
}

// Paper cannot be unfolded.
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
});
