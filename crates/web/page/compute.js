// What is computed, analysis by analysis, and when it is shown.

import { analyse, ask, opened } from "./ask.js";
import { showCode } from "./code.js";
import { $ } from "./dom.js";
import { showFiles } from "./files.js";
import { showAlignment, showChecks, showEffects, showMap, showPlace } from "./results.js";
import { AMPLITUDES, answers, direction, placed, setAnswers, state, write } from "./state.js";
import { say } from "./view.js";
import { during, round } from "./work.js";

export function compute() {
  for (const key of ["clean", "corrupted", "target", "against"]) state[key] = $(`#${key}`).value;
  write();
  return during(async (current) => {
    setAnswers({});
    ["effects", "place", "elsewhere", "proofs", "machine"].forEach((id) => ($(`#${id}`).hidden = true));
    await opened();
    const { tokens } = await ask("tokens", { prompts: [state.clean, state.corrupted] });
    if (!current()) return;
    showAlignment(tokens);
    say("patching every place");
    const patch = await analyse("patch");
    if (!current()) return;
    setAnswers({ patch });
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

export function choose(place) {
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
