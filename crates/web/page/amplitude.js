// The finite and the first-order response of J over the amplitude, as a drawing that follows its slider.

import { $ } from "./dom.js";
import { AMPLITUDES, answers, data, state, whole } from "./state.js";

export function showAmplitude() {
  if (!answers.regime) return;
  const amplitude = Number(state.amplitude);
  const [finite, [slope]] = ["finite", "first_order"].map((name) => data(answers.regime, name));
  // Chosen amplitudes are f32; a null is a number that is not finite.
  const at = AMPLITUDES.findIndex((a) => Math.abs(a - amplitude) < 0.01);
  const [real, linear] = [at < 0 ? 0 : finite[at] ?? NaN, amplitude * (slope ?? NaN)];
  $("#amplitude").value = amplitude;
  $("#amplitude-shown").textContent =
    amplitude.toFixed(1) + (whole() ? " times the difference" : " times |h| times the direction");
  $("#finite").textContent = `J changes by ${real.toFixed(4)}; to first order by ${linear.toFixed(4)}.`;
  const points = [...AMPLITUDES.map((a, i) => [a, finite[i]]), [0, 0]].sort((a, b) => a[0] - b[0]);
  // Its texts have the size of the page's on a phone too.
  const [width, height, edge] = [Math.min(640, $("#curve").clientWidth), 260, 46];
  const all = [...points.map((p) => p[1]), -slope, 2 * slope].filter(Number.isFinite);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const x = (a) => edge + ((a + 1) / 3) * (width - 2 * edge);
  const y = (j) => height - 30 - ((j - low) / (high - low || 1)) * (height - 50);
  const line = (list) => list.map(([a, j]) => `${x(a).toFixed(1)},${y(j).toFixed(1)}`).join(" ");
  const label = `J over amplitude: ${real.toFixed(4)} at ${amplitude.toFixed(1)}, to first order ${linear.toFixed(4)}`;
  $("#curve").innerHTML = `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">
<line class="axis" x1="${edge}" x2="${width - edge}" y1="${y(0)}" y2="${y(0)}"/><line class="axis" x1="${x(0)}" x2="${x(0)}" y1="10" y2="${height - 30}"/>
<polyline class="first" points="${line([[-1, -slope], [2, 2 * slope]])}"/><polyline class="finite" points="${line(points)}"/>
<line class="at" x1="${x(amplitude)}" x2="${x(amplitude)}" y1="10" y2="${height - 30}"/>
<circle class="dot-first" cx="${x(amplitude)}" cy="${y(linear)}" r="5"/><circle class="dot-finite" cx="${x(amplitude)}" cy="${y(real)}" r="5"/>
<text x="${edge}" y="${height - 8}">amplitude −1</text><text x="${width - edge}" y="${height - 8}" text-anchor="end">2</text>
<text x="4" y="${y(high) + 4}">${high.toFixed(1)}</text><text x="4" y="${y(low) + 4}">${low.toFixed(1)}</text>
<text x="${width - edge + 4}" y="${y(2 * slope)}">linear</text><text x="${width - edge + 4}" y="${y(points.at(-1)[1]) + 4}">finite</text></svg>`;
}
