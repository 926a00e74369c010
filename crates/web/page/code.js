// The same in other languages: commands and programs that compute what the page shows.

import { $ } from "./dom.js";
import { AMPLITUDES, direction, modelName, state, whole } from "./state.js";

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

// The commands whose results the page shows, by analysis.
export function commands() {
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

export function showCode() {
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
