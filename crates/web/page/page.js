// The page: what the user sets is `state`, which is also the address; what the engine answers is `answers`.

const $ = (selector) => document.querySelector(selector);
const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

const DEFAULTS = {
  model: "atlas-small",
  device: "auto",
  clean: "When Mary and John went to the store, John gave a drink to",
  corrupted: "When Mary and John went to the store, Mary gave a drink to",
  target: " Mary",
  against: " John",
  map: "effect",
  place: "",
  direction: "displacement",
  amplitude: "1",
  language: "shell",
};
// Sizes of the models' archives, for the progress bar.
const BYTES = { "atlas-nano": 736768, "atlas-micro": 2569728, "atlas-small": 8550400 };
const AMPLITUDES = [...Array(31).keys()].map((i) => (i - 10) / 10).filter((a) => a !== 0);

let state = { ...DEFAULTS };
let answers = {};
const urls = [];
const machineUrls = [];
// Counts computations: an answer to an earlier one is dropped.
let round = 0;
// What the engine has open: the name of a model, or the user's files.
let open = null;
let own = null;
// The device that the engine has open, as it was chosen.
let device = null;
// Why a GPU was lost or refused, until it is tried again. The host executor takes its place.
let fallen = "";

// ---- the engine -----------------------------------------------------------------------------------------------------

let worker;
let waiting = new Map();
let next = 0;

function start() {
  worker = new Worker("worker.js", { type: "module" });
  open = device = null;
  let why = "";
  worker.onmessage = ({ data }) => {
    if (data.progress !== undefined) {
      if (data.doing) say(data.doing);
      return progress(data.progress);
    }
    if (data.stopped !== undefined) return void (why = data.stopped);
    const { resolve, reject } = waiting.get(data.id) ?? {};
    waiting.delete(data.id);
    if (data.error === undefined) return resolve?.(data);
    if (data.trapped) {
      const used = `${((data.memory ?? 0) / 2 ** 30).toFixed(1)} of 4.0 GiB of memory are in use`;
      const message = `the engine stopped: ${why || data.error}; ${used}; use a smaller model or a shorter prompt`;
      restart(message);
      return reject?.(new Error(message));
    }
    if (data.lost) {
      // A GPU that is lost has lost the model too, and one that computes wrongly is not used. Another worker has neither.
      const isWrong = data.error.includes("fails its self-test");
      const reason = data.error.replace(/^device lost: /, "").replace(/[.\s]*;[^;]*$/, "");
      const what = isWrong ? `the GPU computes wrongly (${reason})` : `the GPU is lost (${reason})`;
      const message = `${what}; the page goes on with the host executor, and Compute tries the GPU again`;
      restart(message);
      fallen = message;
      return reject?.(new Error(message));
    }
    reject?.(new Error(data.error));
  };
  worker.onerror = (event) => {
    // Another worker would fail in the same way.
    const message = `the engine does not load: ${event.message ?? "worker.js or engine.js is missing"}`;
    for (const { reject } of waiting.values()) reject(new Error(message));
    waiting.clear();
  };
}

function restart(reason) {
  worker.terminate();
  const all = [...waiting.values()];
  waiting = new Map();
  start();
  for (const { reject } of all) reject(new Error(reason));
}

function ask(work, message = {}) {
  return new Promise((resolve, reject) => {
    waiting.set(++next, { resolve, reject });
    worker.postMessage({ id: next, work, ...message });
  });
}

const analyse = (analysis, more = {}) => {
  const { clean, corrupted, target, against } = state;
  return ask("ask", { request: { analysis, clean, corrupted, target, against: against || null, ...more } });
};

const DEVICES = ["auto", "gpu", "host"];

async function prepared() {
  const wanted = fallen ? "host" : state.device;
  if (device === wanted) return;
  say("opening the device");
  const { device: about, style, reason, adapter, seconds } = await ask("device", { device: wanted });
  device = wanted;
  open = null;
  $("#drawings").textContent = style;
  const host = "host executor (WebAssembly), one thread of this browser";
  const gpu = `WebGPU: ${adapter || about.name}; opened and tested in ${seconds.toFixed(1)} s`;
  $("#runs-on").textContent = about.host ? [host, reason, fallen].filter(Boolean).join("; ") : gpu;
}

// Where the worker gets the files of the model from.
const modelFiles = () => own ?? { model: state.model, bytes: BYTES[state.model] };

async function opened() {
  await prepared();
  const wanted = own ?? state.model;
  if (open === wanted) return;
  // A model that does not open closes the one before it.
  open = null;
  say(own ? "opening your files" : `loading ${state.model}`);
  progress(0);
  const { about, seconds } = await ask(own ? "files" : "load", modelFiles());
  open = wanted;
  progress(null);
  document.body.dataset.model = JSON.stringify(about);
  document.body.dataset.opened = seconds.toFixed(3);
  say(`${about.name}: ${about.levels - 1} blocks, width ${about.d}, opened in ${seconds.toFixed(1)} s`);
}

// ---- what is shown --------------------------------------------------------------------------------------------------

const say = (text) => ($("#status").textContent = text);

function progress(part) {
  $("#progress").hidden = part === null;
  // Work of a single step shows only that it runs.
  if (part) $("#progress").value = Math.min(part, 1);
  else $("#progress").removeAttribute("value");
}

function complain(message) {
  $("#error").hidden = !message;
  $("#error").textContent = message ?? "";
}

function busy(is) {
  $("#compute").disabled = is;
  $("#stop").hidden = !is;
  if (!is) progress(null);
}

const visible = (text) => text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "→");
const short = (x) => (x === 0 ? "0" : Math.abs(x) < 0.005 ? "0.00" : x.toFixed(2));

// Shows an array [level, token] as a table whose cells can be chosen.
function grid(table, { values, labels, name, diverging, choose }) {
  const tokens = labels.length;
  const levels = values.length / tokens;
  const most = values.reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1;
  const body = element("tbody");
  const active = state.place ? placed() : [levels - 1, tokens - 1];
  for (let level = levels - 1; level >= 0; level--) {
    const row = element("tr", { role: "row", "data-level": level }, element("th", { scope: "row" }, `h${level}`));
    for (let token = 0; token < tokens; token++) {
      const x = values[level * tokens + token];
      const cell = element("td", {
        role: "gridcell",
        "data-place": `${level},${token}`,
        "aria-label": `level ${level}, token ${token} ${visible(labels[token])}: ${name} ${x.toPrecision(4)}`,
        "aria-selected": state.place === `${level},${token}`,
        tabindex: level === active[0] && token === active[1] ? 0 : -1,
      }, short(x));
      const part = diverging ? Math.abs(x) / most : Math.sqrt(Math.abs(x) / most);
      const colour = diverging ? (x < 0 ? "cool" : "warm") : "strong";
      cell.style.background = `color-mix(in oklab, var(--${colour}) ${(60 * part).toFixed(1)}%, var(--void))`;
      row.append(cell);
    }
    body.append(row);
  }
  const names = labels.map((text, i) => element("th", { scope: "col", title: `${i} ${visible(text)}` }, visible(text)));
  table.replaceChildren(body, element("tfoot", {}, element("tr", {}, element("td"), ...names)));
  table.onclick = (event) => {
    const cell = event.target.closest("[data-place]");
    if (cell) choose(cell.dataset.place);
  };
  table.onkeydown = (event) => {
    const at = event.target.dataset?.place?.split(",").map(Number);
    const step = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!at) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(event.target.dataset.place);
    } else if (step) {
      event.preventDefault();
      const to = cellAt(table, `${at[0] + step[0]},${at[1] + step[1]}`);
      if (!to) return;
      event.target.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    }
  };
}

// Scrolls a wide table, which a phone shows in part, so that a cell of it is in the middle.
function reveal(cell) {
  const view = cell?.closest(".scroll");
  if (view) view.scrollLeft = cell.offsetLeft + (cell.offsetWidth - view.clientWidth) / 2;
}

const cellAt = (table, place) => table.querySelector(`[data-place="${place}"]`);

const placed = () => state.place.split(",").map(Number);
const data = (answer, name) => answer.result.arrays[name]?.data;
const observable = () => `logit(${JSON.stringify(state.target)})` + (state.against ? ` - logit(${JSON.stringify(state.against)})` : "");

function showAlignment(tokens) {
  const [clean, corrupted] = tokens;
  const row = (name, all, other) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...all.map((text, i) =>
      element("td", text === other[i] ? {} : { class: "differs" }, visible(text))));
  const note = clean.length === corrupted.length
    ? `${clean.length} tokens each`
    : `${clean.length} and ${corrupted.length} tokens: the prompts must have the same number`;
  $("#alignment").replaceChildren(
    element("div", { class: "scroll" }, element("table", {}, row("clean", clean, corrupted), row("corrupted", corrupted, clean))),
    element("small", {}, note));
  reveal($("#alignment .differs"));
}

function showMap() {
  const answer = state.map === "sensitivity" ? answers.sensitivity : answers.patch;
  if (!answer) return;
  const name = { effect: "patch effect", first_order: "first-order prediction", sensitivity: "length of dJ/dh" }[state.map];
  const values = data(answer, state.map === "sensitivity" ? "norm" : state.map);
  grid($("#map"), { values, labels: answer.labels, name, diverging: state.map !== "sensitivity", choose });
}

function showEffects() {
  const [from, to] = ["corrupted_value", "clean_value"].map((name) => data(answers.patch, name)[0]);
  const seconds = answers.patch.seconds.toFixed(2);
  $("#summary").textContent =
    `J = ${observable()} is ${to.toFixed(4)} for the prompt and ${from.toFixed(4)} for the corrupted one. Each number is the ` +
    `change of J when one vector of the prompt replaces that of the corrupted prompt. (${seconds} s)`;
  $("#effects").hidden = false;
  showMap();
  const effects = data(answers.patch, "effect").map(Math.abs);
  const tokens = answers.patch.labels.length;
  const largest = effects.indexOf(Math.max(...effects));
  reveal(cellAt($("#map"), state.place || `${Math.floor(largest / tokens)},${largest % tokens}`));
  $("#scatter").innerHTML = answers.patch.scatter ?? "";
}

function showPlace() {
  const { green, lens } = answers;
  const [level, token] = placed();
  const { labels } = green;
  $("#place-title").textContent = `From h[${level},${token}], ${visible(labels[token])}`;
  $("#place").hidden = false;
  grid($("#cone"), { values: data(green, "norm"), labels, name: "length of the response", diverging: false, choose });
  reveal(cellAt($("#cone"), state.place));
  const levels = data(green, "norm").length / labels.length;
  Object.assign($("#depth"), { min: level, max: levels - 1 });
  $("#depth").value = levels - 1;
  showDepth();
  const [tokens, probabilities, value] = ["top_tokens", "top_probability", "value"].map((name) => data(lens, name));
  const most = tokens.length / (levels * labels.length);
  const rows = [];
  for (let l = levels - 1; l >= 0; l--) {
    const at = (l * labels.length + labels.length - 1) * most;
    const likely = [...Array(most).keys()].map((k) => `${visible(lens.texts[at + k])} ${probabilities[at + k].toFixed(2)}`);
    rows.push(element("tr", {}, element("th", { scope: "row" }, `h${l}`), element("td", {}, value[l].toFixed(3)),
      element("td", {}, likely.join("   "))));
  }
  $("#lens tbody").replaceChildren(...rows);
  showWriters();
  showAmplitude();
}

// The writers with the largest effects, each with a button that makes it the source.
function showWriters() {
  const names = answers.writers.result.metadata.writers.split(",");
  const [exact, first] = ["exact", "first_order"].map((name) => data(answers.writers, name));
  const order = [...names.keys()].sort((a, b) => Math.abs(exact[b]) - Math.abs(exact[a])).slice(0, 8);
  const row = (i) => {
    const button = element("button", { type: "button", "data-writer": names[i] }, named(names[i]));
    button.onclick = () => source(`writer:${names[i]}`);
    const numbers = [exact[i], first[i]].map((x) => element("td", {}, x.toFixed(4)));
    return element("tr", {}, element("th", { scope: "row" }, button), ...numbers);
  };
  $("#writers tbody").replaceChildren(...order.map(row));
  const listed = new Set(order.map((i) => `writer:${names[i]}`));
  if (state.direction.startsWith("writer:")) listed.add(state.direction);
  $("#of-writers").replaceChildren(...[...listed].map((value) => element("option", { value }, named(value.slice(7)))));
  $("#direction").value = state.direction;
}

const named = (writer) => {
  const [, block, head] = writer.match(/^[am](\d+)(?:\.h(\d+))?$/) ?? [];
  if (block === undefined) return "embedding";
  return head === undefined ? `MLP ${block}` : `head ${head} of block ${block}`;
};

function source(value) {
  state.direction = value;
  $("#direction").value = value;
  choose(state.place);
}

function showDepth() {
  const depth = Number($("#depth").value);
  $("#depth-shown").textContent = `h${depth}`;
  for (const row of document.querySelectorAll("#cone tbody tr")) {
    row.style.visibility = Number(row.dataset.level) > depth ? "hidden" : "visible";
  }
}

let playing;
function play() {
  clearInterval(playing);
  const depth = $("#depth");
  depth.value = depth.min;
  showDepth();
  playing = setInterval(() => {
    depth.value = Number(depth.value) + 1;
    showDepth();
    if (depth.value === depth.max) clearInterval(playing);
  }, 350);
}

function showAmplitude() {
  if (!answers.regime) return;
  const amplitude = Number(state.amplitude);
  const [finite, [slope]] = ["finite", "first_order"].map((name) => data(answers.regime, name));
  // Chosen amplitudes are f32; a null is a number that is not finite.
  const at = AMPLITUDES.findIndex((a) => Math.abs(a - amplitude) < 0.01);
  const [real, linear] = [at < 0 ? 0 : finite[at], amplitude * (slope ?? NaN)];
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

function showChecks() {
  const all = Object.entries(answers).flatMap(([name, answer]) => answer.checks.map((check) => [name, check]));
  $("#checks").replaceChildren(...all.map(([name, check]) => element("li", {}, `${name}: `, element("code", {}, check))));
  $("#proofs").hidden = all.length === 0;
}

// A link to a file, whose address is in a list so that it can be forgotten.
function link(name, parts, type, list = urls) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  list.push(url);
  return element("a", { href: url, download: name }, name);
}

const forget = (list) => list.splice(0).forEach((url) => URL.revokeObjectURL(url));

function showFiles() {
  forget(urls);
  const items = Object.entries(answers).map(([name, answer]) => {
    const links = [
      link(`${name}.safetensors`, [answer.file], "application/octet-stream"),
      link(`${name}.json`, [answer.text], "application/json"),
      ...answer.figures.map((figure, i) => link(`${name}-${i + 1}.svg`, [figure.svg], "image/svg+xml")),
    ];
    return element("li", {}, ...links.flatMap((a, i) => (i ? [", ", a] : [a])));
  });
  $("#downloads").replaceChildren(...items);
  $("#elsewhere").hidden = items.length === 0;
}

// ---- the same in other languages ------------------------------------------------------------------------------------

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
// Differences between the prompts are taken as they are; other directions have no size of their own.
const whole = () => state.direction === "displacement" || state.direction.startsWith("writer:");
const direction = () => ({ token: `token:${state.target}`, random: "random:0" })[state.direction] ?? state.direction;
const modelName = () => (own ? `path/to/${own.name}` : state.model);

// The commands whose results the page shows, by analysis.
function commands() {
  const { clean, corrupted, target, against, place } = state;
  const j = `--target ${quoted(target)}` + (against ? ` --against ${quoted(against)}` : "");
  const end = `--model ${quoted(modelName())} --device host`;
  const all = {
    patch: `resolvent patch ${quoted(clean)} --corrupted ${quoted(corrupted)} ${j} ${end}`,
    sensitivity: `resolvent sensitivity ${quoted(corrupted)} ${j} ${end}`,
  };
  if (place) {
    const from = `--direction ${quoted(direction())} --donor ${quoted(clean)}`;
    const absolute = whole() ? " --absolute" : "";
    all.writers = `resolvent edges ${quoted(clean)} --corrupted ${quoted(corrupted)} --into=${place} ${j} ${end}`;
    all.green = `resolvent green ${quoted(corrupted)} --source=${place} ${from} --geometry ${j} ${end}`;
    all.lens = `resolvent lens ${quoted(corrupted)} ${j} ${end}`;
    all.regime = `resolvent regime ${quoted(corrupted)} --sites=${place} ${from}${absolute} --amplitudes=${AMPLITUDES.join(",")} ${j} ${end}`;
  }
  return all;
}

function showCode() {
  const { clean, corrupted, target, against, place } = state;
  const [c, o, t, a, m] = [clean, corrupted, target, against, modelName()].map((text) => JSON.stringify(text));
  const at = place.replace(",", ", ");
  const absolute = whole();
  const python = [
    `from resolvent import Model, ${against ? "logit_diff" : "logit"}`, "",
    `model = Model.from_pretrained(${m}, device="host")`, `clean, corrupted = ${c}, ${o}`,
    against ? `j = logit_diff(${t}, ${a})` : `j = logit(${t})`,
    "patched = model.patch_sweep(clean, corrupted, j)   # patched[\"effect\"], patched[\"first_order\"]",
    "run = model.run(corrupted)", "chi = run.sensitivity(j)",
    ...(place ? [
      `writers = model.edges_into(clean, corrupted, j, (${at}))`, `direction = ${JSON.stringify(direction())}`,
      `response = run.green((${at}), direction, donor=clean, observable=j, geometry=True)`, "lens = model.lens(run, j)",
      `regime = run.regime(j, direction, sites=[(${at})], donor=clean, absolute=${absolute ? "True" : "False"},`,
      `                    amplitudes=[${AMPLITUDES.join(", ")}])`] : []),
  ];
  const rust = [
    "use resolvent::field::{LensOptions, RegimeOptions, lens, regime};", "use resolvent::prelude::*;", "",
    "let device = Device::host();", `let model = Model::named(&device, ${m})?;`,
    "let tokenizer = model.text_tokenizer()?.expect(\"the model has a tokenizer\");",
    `let clean = model.run(&tokenizer.prompt(${c})?, &[])?;`, `let corrupted = model.run(&tokenizer.prompt(${o})?, &[])?;`,
    "let last = corrupted.tokens().len() - 1;",
    against ? `let j = Observable::logit_diff(model.token(${t})?, model.token(${a})?, last);` : `let j = Observable::logit(model.token(${t})?, last);`,
    "let patched = resolvent::patch(&clean, &corrupted, &j)?;", "let chi = resolvent::sensitivity(&corrupted, &j)?;",
    ...(place ? [
      "let context = Context { observable: Some(&j), other: Some(&clean), unit: false };",
      `let direction = Direction::parse(${JSON.stringify(direction())}, &model)?;`,
      `let source = direction.resolve(&corrupted, (${at}), context)?;`,
      `let response = resolvent::green(&corrupted, ${at}, &source)?;`,
      "let read = lens(&corrupted, Some(&j), LensOptions::default())?;",
      "let amplitudes = (-10..=20).filter(|i| *i != 0).map(|i| i as f32 / 10.0).collect();",
      `let options = RegimeOptions { amplitudes, absolute: ${absolute}, field: false, nodes: 0 };`,
      `let finite = regime(&corrupted, &j, &[((${at}), source)], &options)?;`] : []),
  ];
  const texts = { shell: Object.values(commands()).join("\n"), python: python.join("\n"), rust: rust.join("\n") };
  $("#code").textContent = texts[state.language];
}

// ---- the device -----------------------------------------------------------------------------------------------------

function showMachine(summary, head, rows, file, text) {
  forget(machineUrls);
  $("#machine-summary").replaceChildren(`${summary} `, link(file, [text], "application/json", machineUrls));
  const cells = (kind, row) => row.map((text) => element(kind, kind === "th" ? { scope: "col" } : {}, text));
  const body = rows.map((row) => element("tr", {}, element("th", { scope: "row" }, row[0]), ...cells("td", row.slice(1))));
  $("#machine-table").replaceChildren(
    element("thead", {}, element("tr", {}, ...cells("th", head))), element("tbody", {}, ...body));
}

const compareKernels = () => during(async (current) => {
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

const timeDevice = () => during(async (current) => {
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

// ---- the state and the address --------------------------------------------------------------------------------------

function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  state = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS)) if (given.has(key)) state[key] = given.get(key);
  if (!(state.model in BYTES)) state.model = DEFAULTS.model;
  if (!/^\d+,\d+$/.test(state.place)) state.place = "";
  if (!Number.isFinite(Number(state.amplitude))) state.amplitude = DEFAULTS.amplitude;
  if (!DEVICES.includes(state.device)) state.device = DEFAULTS.device;
  const inputs = ["model", "device", "clean", "corrupted", "target", "against", "direction"];
  for (const key of inputs) $(`#${key}`).value = state[key];
  for (const name of ["map", "language"]) {
    const radio = $(`input[name=${name}][value="${CSS.escape(state[name])}"]`);
    if (radio) radio.checked = true;
    else state[name] = DEFAULTS[name];
  }
  if (/^writer:(input|m\d+|a\d+\.h\d+)$/.test(state.direction)) {
    $("#of-writers").replaceChildren(element("option", { value: state.direction }, named(state.direction.slice(7))));
    $("#direction").value = state.direction;
  }
  if (!$("#direction").value) $("#direction").value = state.direction = DEFAULTS.direction;
}

function write() {
  const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  history.replaceState(null, "", `#${new URLSearchParams(changed)}`);
}

// ---- what the user does ---------------------------------------------------------------------------------------------

// Runs work of the engine. Its errors are shown, and work of an earlier round ends silently.
async function during(work) {
  const mine = ++round;
  const current = () => mine === round;
  complain(null);
  busy(true);
  const before = fallen;
  // Work that a lost GPU has interrupted begins again on the host executor.
  const again = (error) => {
    if (fallen === before || !current()) throw error;
    complain(fallen);
    return work(current);
  };
  try {
    await work(current).catch(again);
  } catch (error) {
    if (current()) {
      complain(error.message);
      say("");
    }
  } finally {
    if (current()) busy(false);
  }
}

function compute() {
  for (const key of ["clean", "corrupted", "target", "against"]) state[key] = $(`#${key}`).value;
  write();
  return during(async (current) => {
    answers = {};
    ["effects", "place", "elsewhere", "proofs", "machine"].forEach((id) => ($(`#${id}`).hidden = true));
    await opened();
    const { tokens } = await ask("tokens", { prompts: [state.clean, state.corrupted] });
    if (!current()) return;
    showAlignment(tokens);
    say("patching every place");
    const patch = await analyse("patch");
    if (!current()) return;
    answers = { patch };
    // A place of another model or of longer prompts.
    const [level, token] = placed();
    const { shape } = patch.result.arrays.effect;
    if (state.place && (level >= shape[0] || token >= shape[1])) state.place = "";
    write();
    showEffects();
    document.body.dataset.first ??= (performance.now() / 1000).toFixed(3);
    say("sensitivity");
    const sensitivity = await analyse("sensitivity");
    if (!current()) return;
    answers.sensitivity = sensitivity;
    showMap();
    if (state.place) await explore(current);
    finish();
  });
}

async function explore(current) {
  const source = { place: placed(), direction: direction() };
  say("response of the field");
  const green = await analyse("green", source);
  const lens = answers.lens ?? (await analyse("lens"));
  const writers = await analyse("writers", { place: source.place });
  const regime = await analyse("regime", { ...source, amplitudes: AMPLITUDES });
  if (!current()) return;
  Object.assign(answers, { green, lens, regime, writers });
  showPlace();
}

function finish() {
  showChecks();
  showFiles();
  showCode();
  $("#machine").hidden = false;
  const memory = Math.max(...Object.values(answers).map((answer) => answer.memory));
  say(`done; the engine uses ${(memory / 2 ** 20).toFixed(0)} MB`);
  document.body.dataset.done = String(round);
}

function choose(place) {
  state.place = place;
  write();
  for (const cell of document.querySelectorAll("[data-place]")) {
    cell.setAttribute("aria-selected", cell.dataset.place === place);
  }
  return during(async (current) => {
    await opened();
    await explore(current);
    if (current()) finish();
  });
}

async function chosen(files) {
  if (!files.length) return;
  const gguf = files.find((file) => file.name.endsWith(".gguf"));
  own = { name: (gguf ?? files[0]).name.replace(/\.[^.]*$/, "") || "model", files };
  if (!gguf) own.name = "own-model";
  await compute();
}

// Offers tokens that begin with what is typed.
async function complete(input, list) {
  if (open === null || waiting.size) return;
  const { completions } = await ask("completions", { prefix: input.value, most: 30 });
  $(list).replaceChildren(...completions.map((text) => element("option", { value: text })));
}

// Shows the tokens while a prompt is typed.
async function align() {
  if (open === null || waiting.size) return;
  const { tokens } = await ask("tokens", { prompts: [$("#clean").value, $("#corrupted").value] });
  showAlignment(tokens);
}

const ignore = () => {};
$("#form").onsubmit = (event) => {
  event.preventDefault();
  fallen = "";
  compute();
};
$("#stop").onclick = () => {
  round++;
  restart("stopped");
  busy(false);
  say("stopped");
};
$("#model").onchange = (event) => {
  own = null;
  $("#files").value = "";
  state.model = event.target.value;
  compute();
};
$("#device").onchange = (event) => {
  state.device = event.target.value;
  fallen = "";
  compute();
};
$("#files").onchange = (event) => chosen([...event.target.files]);
for (const id of ["#clean", "#corrupted"]) $(id).oninput = () => align().catch(ignore);
$("#target").oninput = (event) => complete(event.target, "#targets").catch(ignore);
$("#against").oninput = (event) => complete(event.target, "#againsts").catch(ignore);
$("#direction").onchange = (event) => {
  state.direction = event.target.value;
  choose(state.place);
};
$("#check-kernels").onclick = compareKernels;
$("#time").onclick = timeDevice;
addEventListener("resize", showAmplitude);
$("#depth").oninput = showDepth;
$("#play").onclick = play;
$("#amplitude").oninput = (event) => {
  state.amplitude = event.target.value;
  write();
  showAmplitude();
};
for (const radio of document.querySelectorAll("input[type=radio]")) {
  radio.onchange = () => {
    state[radio.name] = radio.value;
    write();
    showMap();
    showCode();
  };
}
addEventListener("hashchange", () => {
  read();
  compute();
});
document.ondragover = (event) => {
  event.preventDefault();
  $("#drop").classList.add("over");
};
document.ondragleave = () => $("#drop").classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  $("#drop").classList.remove("over");
  chosen([...event.dataTransfer.files]);
};

// The test asks for these.
globalThis.explorer = { commands, answers: () => answers };

read();
start();
compute();
