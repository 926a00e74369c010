// The section of the device: how right its kernels are, and how fast it is.

import { ask, modelFiles, opened } from "./ask.js";
import { $, element } from "./dom.js";
import { forget, link } from "./files.js";
import { say } from "./view.js";
import { during } from "./work.js";

const urls = [];

function showMachine(summary, head, rows, file, text) {
  forget(urls);
  $("#machine-summary").replaceChildren(`${summary} `, link(file, [text], "application/json", urls));
  const cells = (kind, row) => row.map((text) => element(kind, kind === "th" ? { scope: "col" } : {}, text));
  const body = rows.map((row) => element("tr", {}, element("th", { scope: "row" }, row[0]), ...cells("td", row.slice(1))));
  $("#machine-table").replaceChildren(
    element("thead", {}, element("tr", {}, ...cells("th", head))), element("tbody", {}, ...body));
}

export const compareKernels = () => during(async (current) => {
  await opened();
  const { text, seconds } = await ask("kernels");
  if (!current()) return;
  const { compared, left_out, bound } = JSON.parse(text);
  const wrong = compared.filter((kernel) => !kernel.right).length;
  const rows = [
    ...compared.map((k) => [k.kernel, k.variant, k.launches, k.shape, Number(k.error).toExponential(1), k.right ? "right" : "WRONG"]),
    ...left_out.map((k) => [k.kernel, k.variant, 0, "", "", `left out: ${k.reason}`]),
  ];
  const summary = `${compared.length} variants of kernels in ${seconds.toFixed(0)} s: ` +
    `${wrong === 0 ? "all are right" : `${wrong} are WRONG`}, to ${bound} of the largest element. ${left_out.length} are left out.`;
  showMachine(summary, ["kernel", "variant", "launches", "shape", "error", ""], rows, "kernels.json", text);
  say("done");
});

export const timeDevice = () => during(async (current) => {
  await opened();
  const { text } = await ask("bench", modelFiles());
  if (!current()) return;
  const { peaks, passes, kernels, model, tokens, warnings } = JSON.parse(text);
  const ms = (seconds) => `${(1000 * seconds).toPrecision(3)} ms`;
  const rows = [
    ...passes.map((p) => [p.name, ms(p.seconds), `${ms(p.low)} to ${ms(p.high)}`, p.repeats]),
    ...kernels.slice(0, 12).map((k) => [`${k.kernel} ${k.shape}`, ms(k.seconds), `${k.gflops.toFixed(1)} GFLOP/s`, k.launches]),
  ];
  const clock = kernels.length ? "" : " The device has no timestamps: kernels are not timed.";
  const summary = [`${model}, ${tokens} tokens; peaks: ${peaks.gflops.toFixed(1)} GFLOP/s, ${peaks.gbytes.toFixed(1)} GB/s.${clock}`, ...warnings];
  showMachine(summary.join(" Warning: "), ["pass or kernel", "median", "least to most, or rate", "times"], rows, "bench.json", text);
  say("done");
});
