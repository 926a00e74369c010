// The engine runs here, so that the page never freezes. Messages have an id, and each is answered once.
import init, { Engine } from "./engine.js";

// Where a browser cannot suspend a module, no call of it waits: the host executor returns at once.
const suspends = "Suspending" in WebAssembly;
WebAssembly.Suspending ??= function (call) {
  return call;
};
WebAssembly.promising ??= (call) => call;

self.engineStopped = (message) => postMessage({ stopped: message.replace(/\s+/g, " ") });

// The page is told at most ten times a second how far long work is.
let told = 0;
function tell(progress, doing) {
  if (progress < 1 && performance.now() - told < 100) return;
  told = performance.now();
  postMessage({ progress, doing });
}
self.engineDoes = (doing) => postMessage({ progress: 0, doing });
self.engineStep = (done, all) => tell(done / Math.max(all, 1));

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

// Receives a file of the next model, piece by piece, so that it is in memory only once.
async function received(name, bytes, pieces, arrived) {
  engine.beginFile(name, bytes);
  const broken = (error) => {
    throw new Error(`${name} cannot be read to its end (${error.message}); try again`);
  };
  for (const reader = pieces.getReader(); ; ) {
    const { done, value } = await reader.read().catch(broken);
    if (done) break;
    engine.append(value);
    arrived(value.length);
  }
}

// Receives the files of a model: those of the user, or those of a model that lies beside the page.
async function arrived({ model, bytes, files }) {
  engine.dropFiles();
  const all = files ? files.reduce((sum, file) => sum + file.size, 0) : bytes;
  let sum = 0;
  const count = (bytes) => tell((sum += bytes) / all);
  if (files) {
    tell(0, "reading your files");
    for (const file of files) await received(file.name, file.size, file.stream(), count);
    return;
  }
  const names = ["config.json", "tokenizer.json", "model.safetensors"];
  const answers = await Promise.all(names.map((name) => fetch(`models/${model}/${name}`)));
  const missing = answers.find((answer) => !answer.ok);
  if (missing) throw new Error(`${missing.url}: the server answers ${missing.status}; are all files of the page there?`);
  for (const [i, name] of names.entries()) {
    // The length is that of a compressed file, if the server compresses.
    const length = Number(answers[i].headers.get("Content-Length")) || 0;
    await received(name, length, answers[i].body, count);
  }
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
  // Opens the engine's device. Each kernel of a GPU is tested before its first use, the first ones here.
  async device({ device }) {
    const reason = withoutGpu();
    if (reason && device === "gpu") throw new Error(`${reason}; choose another device`);
    const about = JSON.parse(await engine.choose(reason ? "host" : device));
    if (device === "host") return { device: about };
    const found = await adapter();
    return { device: about, reason: about.host ? (reason ?? passedOver(found)) : "", adapter: found?.name };
  },
  // Opens a model that lies beside the page.
  async load(asked) {
    await arrived(asked);
    return { about: JSON.parse(await engine.open(asked.model)) };
  },
  // Opens a model of the user's files.
  async files(asked) {
    await arrived(asked);
    tell(1, "opening the model");
    return { about: JSON.parse(await engine.open(asked.name)) };
  },
  // Compares every kernel of the GPU with its host body.
  kernels: async () => ({ text: await engine.checkKernels() }),
  // Times the device, with the model that is open: its files arrive again.
  async bench(asked) {
    await arrived(asked);
    return { text: await engine.bench(asked.name ?? asked.model) };
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

// Says that the GPU is lost or computes wrongly, if that is why work failed. The browser reports a loss a little later than
// the failure.
async function lost() {
  await new Promise((later) => setTimeout(later, 100));
  return engine?.lost();
}

async function answered(data) {
  try {
    await ready;
    const started = performance.now();
    const answer = await work[data.work](data);
    postMessage({ id: data.id, ...answer, seconds: (performance.now() - started) / 1000, memory: memory.buffer.byteLength });
  } catch (error) {
    // After a trap the engine is in no usable state: the page starts another worker.
    const trapped = error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
    const gone = trapped ? undefined : await lost();
    postMessage({ id: data.id, error: gone ?? error.message, trapped, lost: Boolean(gone), memory: memory?.buffer.byteLength });
  }
}

// One after another: a message that arrives while the engine waits for the device is not for it yet.
let last = Promise.resolve();
onmessage = ({ data }) => {
  last = last.then(() => answered(data));
};
