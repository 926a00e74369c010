// The engine runs here, so that the page never freezes. Messages have an id, and each is answered once.
import init, { Engine } from "./engine.js";

// Where a browser cannot suspend a module, no call of it waits: the host executor returns at once.
const suspends = "Suspending" in WebAssembly;
WebAssembly.Suspending ??= function (call) {
  return call;
};
WebAssembly.promising ??= (call) => call;

self.engineStopped = (message) => postMessage({ stopped: message });

let engine;
let memory;

// The build compresses the module, so that it is small on any server.
async function load() {
  const packed = await fetch("engine.bin");
  if (!packed.ok) return init();
  const headers = { "Content-Type": "application/wasm" };
  const unpacked = packed.body.pipeThrough(new DecompressionStream("gzip"));
  return init({ module_or_path: new Response(unpacked, { headers }) });
}

const ready = load().then((module) => {
  memory = module.memory;
  engine = new Engine();
});

// Fetches a file, and reports how many of its bytes have arrived.
async function fetched(address, arrived) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: the server answers ${response.status}; are all files of the page there?`);
  const parts = [];
  let length = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    arrived(value.length);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

// Says why WebGPU cannot be used, if that is so.
function withoutGpu() {
  if (!navigator.gpu) return "this browser offers no WebGPU here";
  if (!suspends) return "this browser cannot suspend WebAssembly, which WebGPU needs";
}

// What browsers tell of the adapter: its vendor, its architecture, and whether it is software.
async function adapter() {
  const { info } = (await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" })) ?? {};
  return info && { name: [info.vendor, info.architecture].filter(Boolean).join(" "), software: info.isFallbackAdapter };
}

// Says why the engine has not chosen the adapter.
function passedOver(found) {
  if (!found) return "this browser offers no GPU";
  if (found.software) return "the GPU of this browser is software, which is slower";
  return `${found.name} does not open or fails its self-test`;
}

const work = {
  // Opens the engine's device. A GPU passes the self-test first.
  async device({ device }) {
    const reason = withoutGpu();
    if (reason && device === "gpu") throw new Error(`${reason}; choose another device`);
    const about = JSON.parse(await engine.choose(reason ? "host" : device));
    if (device === "host") return { device: about };
    const found = await adapter();
    return { device: about, reason: about.host ? (reason ?? passedOver(found)) : "", adapter: found?.name };
  },
  // Opens a model that lies beside the page.
  async load({ model, bytes: all }) {
    let arrived = 0;
    const count = (bytes) => postMessage({ progress: (arrived += bytes) / all });
    const names = ["config.json", "tokenizer.json", "model.safetensors"];
    const files = await Promise.all(names.map((name) => fetched(`models/${model}/${name}`, count)));
    files.forEach((bytes, i) => engine.file(names[i], bytes));
    return { about: JSON.parse(await engine.open(model)) };
  },
  // Opens a model of the user's files.
  async files({ name, files }) {
    for (const file of files) engine.file(file.name, new Uint8Array(await file.arrayBuffer()));
    return { about: JSON.parse(await engine.open(name)) };
  },
  tokens: ({ prompts }) => ({ tokens: prompts.map((prompt) => JSON.parse(engine.tokens(prompt))) }),
  completions: ({ prefix, most }) => ({ completions: JSON.parse(engine.completions(prefix, most)) }),
  async ask({ request }) {
    const reply = await engine.ask(JSON.stringify(request));
    const text = reply.result();
    const answer = { result: JSON.parse(text), text, ...JSON.parse(reply.shown()), file: reply.safetensors() };
    reply.free();
    const ids = answer.result.arrays.top_tokens?.data;
    if (ids) answer.texts = JSON.parse(engine.texts(Uint32Array.from(ids)));
    return answer;
  },
};

async function answered(data) {
  try {
    await ready;
    const started = performance.now();
    const answer = await work[data.work](data);
    postMessage({ id: data.id, ...answer, seconds: (performance.now() - started) / 1000, memory: memory.buffer.byteLength });
  } catch (error) {
    // After a trap the engine is in no usable state: the page starts another worker.
    const trapped = error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
    postMessage({ id: data.id, error: error.message, trapped });
  }
}

// One after another: a message that arrives while the engine waits for the device is not for it yet.
let last = Promise.resolve();
onmessage = ({ data }) => {
  last = last.then(() => answered(data));
};
