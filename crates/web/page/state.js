// What the user sets is `state`, which is also the address; what the engine answers is `answers`.

import { $, element, named } from "./dom.js";

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
export const BYTES = { "atlas-nano": 736768, "atlas-micro": 2569728, "atlas-small": 8550400 };
export const AMPLITUDES = [...Array(31).keys()].map((i) => (i - 10) / 10).filter((a) => a !== 0);
const DEVICES = ["auto", "gpu", "host"];

export const state = { ...DEFAULTS };
// By analysis. An address has none of it.
export let answers = {};
// The user's own model, which an address cannot have.
export let own = null;

export const setAnswers = (given) => (answers = given);
export const setOwn = (model) => (own = model);

export const placed = () => state.place.split(",").map(Number);
export const data = (answer, name) => answer.result.arrays[name]?.data;
export const observable = () => `logit(${JSON.stringify(state.target)})` + (state.against ? ` - logit(${JSON.stringify(state.against)})` : "");
// Differences between the prompts are taken as they are; other directions have no size of their own.
export const whole = () => state.direction === "displacement" || state.direction.startsWith("writer:");
export const direction = () => ({ token: `token:${state.target}`, random: "random:0" })[state.direction] ?? state.direction;
export const modelName = () => (own ? `path/to/${own.name}` : state.model);

export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, DEFAULTS);
  for (const key of Object.keys(DEFAULTS)) if (given.has(key)) state[key] = given.get(key);
  if (!(state.model in BYTES)) state.model = DEFAULTS.model;
  if (!/^\d+,\d+$/.test(state.place)) state.place = "";
  // J is known at the steps of the slider, so an amplitude between them moves to the nearest.
  const amplitude = Math.min(2, Math.max(-1, Math.round(10 * Number(state.amplitude)) / 10));
  state.amplitude = Number.isNaN(amplitude) ? DEFAULTS.amplitude : String(amplitude);
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

export function write() {
  const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  history.replaceState(null, "", `#${new URLSearchParams(changed)}`);
}
