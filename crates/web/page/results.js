// What the engine has answered, in the sections of the page: maps, response, lens, writers, checks.

import { showAmplitude } from "./amplitude.js";
import { $, element, named, visible } from "./dom.js";
import { cellAt, grid, reveal } from "./grid.js";
import { answers, data, observable, placed, state } from "./state.js";

export function showAlignment(tokens) {
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

export function showMap() {
  const answer = state.map === "sensitivity" ? answers.sensitivity : answers.patch;
  if (!answer) return;
  const name = { effect: "patch effect", first_order: "first-order prediction", sensitivity: "length of dJ/dh" }[state.map];
  const values = data(answer, state.map === "sensitivity" ? "norm" : state.map);
  grid($("#map"), { values, labels: answer.labels, name, diverging: state.map !== "sensitivity" });
}

export function showEffects() {
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

export function showPlace() {
  const { green, lens } = answers;
  const [level, token] = placed();
  const { labels } = green;
  $("#place-title").textContent = `From h[${level},${token}], ${visible(labels[token])}`;
  $("#place").hidden = false;
  grid($("#cone"), { values: data(green, "norm"), labels, name: "length of the response", diverging: false });
  reveal(cellAt($("#cone"), state.place));
  const levels = data(green, "norm").length / labels.length;
  Object.assign($("#depth"), { min: level, max: levels - 1 });
  $("#depth").value = levels - 1;
  const [tokens, probabilities, value] = ["top_tokens", "top_probability", "value"].map((name) => data(lens, name));
  const most = tokens.length / (levels * labels.length);
  const likely = (l, t) => {
    const at = (l * labels.length + t) * most;
    return [...Array(most).keys()].map((k) => `${visible(lens.texts[at + k])} ${probabilities[at + k].toFixed(2)}`).join("   ");
  };
  const row = (l) => element("tr", { "data-level": l }, element("th", { scope: "row" }, `h${l}`),
    ...[token, labels.length - 1].map((t) => element("td", {}, likely(l, t))), element("td", {}, value[l].toFixed(3)));
  $("#lens-token").textContent = `at ${visible(labels[token])} (${token})`;
  $("#lens tbody").replaceChildren(...[...Array(levels).keys()].reverse().map(row));
  showDepth();
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
    const numbers = [exact[i], first[i]].map((x) => element("td", {}, x.toFixed(4)));
    return element("tr", {}, element("th", { scope: "row" }, button), ...numbers);
  };
  $("#writers tbody").replaceChildren(...order.map(row));
  const listed = new Set(order.map((i) => `writer:${names[i]}`));
  if (state.direction.startsWith("writer:")) listed.add(state.direction);
  $("#of-writers").replaceChildren(...[...listed].map((value) => element("option", { value }, named(value.slice(7)))));
  $("#direction").value = state.direction;
}

export function showDepth() {
  const depth = Number($("#depth").value);
  $("#depth-shown").textContent = `h${depth}`;
  for (const row of document.querySelectorAll("#cone tbody tr")) {
    row.style.visibility = Number(row.dataset.level) > depth ? "hidden" : "visible";
  }
  for (const row of document.querySelectorAll("#lens tbody tr")) {
    if (Number(row.dataset.level) === depth) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

let playing;
export function play() {
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

export function showChecks() {
  const all = Object.entries(answers).flatMap(([name, answer]) => answer.checks.map((check) => [name, check]));
  $("#checks").replaceChildren(...all.map(([name, check]) => element("li", {}, `${name}: `, element("code", {}, check))));
  $("#proofs").hidden = all.length === 0;
}
