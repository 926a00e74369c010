// The engine, which runs in a worker: its start, its device, its model, and what it is asked.

import { $ } from "./dom.js";
import { BYTES, own, state } from "./state.js";
import { progress, say } from "./view.js";

// What the engine has open: the name of a model, or the user's files.
let open = null;
// The device that the engine has open, as it was chosen.
let device = null;
// Why a GPU was lost or refused, until it is tried again. The host executor takes its place.
export let fallen = "";

let worker;
let waiting = new Map();
let next = 0;

// A GPU that was lost or refused is tried again.
export const retry = () => (fallen = "");

// Whether a model is open and nothing is computed.
export const idle = () => open !== null && !waiting.size;

export function start() {
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

export function restart(reason) {
  worker.terminate();
  const all = [...waiting.values()];
  waiting = new Map();
  start();
  for (const { reject } of all) reject(new Error(reason));
}

export function ask(work, message = {}) {
  return new Promise((resolve, reject) => {
    waiting.set(++next, { resolve, reject });
    worker.postMessage({ id: next, work, ...message });
  });
}

export const analyse = (analysis, more = {}) => {
  const { clean, corrupted, target, against } = state;
  return ask("ask", { request: { analysis, clean, corrupted, target, against: against || null, ...more } });
};

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
export const modelFiles = () => own ?? { model: state.model, bytes: BYTES[state.model] };

export async function opened() {
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
