// What the user does. The page starts here.

import { showAmplitude } from "./amplitude.js";
import { ask, idle, retry, start } from "./ask.js";
import { commands, showCode } from "./code.js";
import { choose, compute } from "./compute.js";
import { compareKernels, timeDevice } from "./device.js";
import { $, element } from "./dom.js";
import { play, showAlignment, showDepth, showMap } from "./results.js";
import { answers, read, setOwn, state, write } from "./state.js";
import { stop } from "./work.js";

// A place is chosen again where its source changes.
function source(value) {
  state.direction = value;
  $("#direction").value = value;
  choose(state.place);
}

async function chosen(files) {
  if (!files.length) return;
  const gguf = files.find((file) => file.name.endsWith(".gguf"));
  const name = gguf ? gguf.name.replace(/\.[^.]*$/, "") || "model" : "own-model";
  setOwn({ name, files });
  await compute();
}

// Offers tokens that begin with what is typed.
async function complete(input, list) {
  if (!idle()) return;
  const { completions } = await ask("completions", { prefix: input.value, most: 30 });
  $(list).replaceChildren(...completions.map((text) => element("option", { value: text })));
}

// Shows the tokens while a prompt is typed.
async function align() {
  if (!idle()) return;
  const { tokens } = await ask("tokens", { prompts: [$("#clean").value, $("#corrupted").value] });
  showAlignment(tokens);
}

const ignore = () => {};
$("#form").onsubmit = (event) => {
  event.preventDefault();
  retry();
  compute();
};
$("#stop").onclick = stop;
$("#model").onchange = (event) => {
  setOwn(null);
  $("#files").value = "";
  state.model = event.target.value;
  compute();
};
$("#device").onchange = (event) => {
  state.device = event.target.value;
  retry();
  compute();
};
$("#files").onchange = (event) => chosen([...event.target.files]);
for (const id of ["#clean", "#corrupted"]) $(id).oninput = () => align().catch(ignore);
$("#target").oninput = (event) => complete(event.target, "#targets").catch(ignore);
$("#against").oninput = (event) => complete(event.target, "#againsts").catch(ignore);
for (const id of ["#map", "#cone"]) {
  $(id).onclick = (event) => {
    const cell = event.target.closest("[data-place]");
    if (cell) choose(cell.dataset.place);
  };
}
$("#direction").onchange = (event) => source(event.target.value);
$("#writers").onclick = (event) => {
  const button = event.target.closest("[data-writer]");
  if (button) source(`writer:${button.dataset.writer}`);
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
