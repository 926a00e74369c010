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

// Reads a file piece by piece, so that it is in memory only once.
async function read(name, pieces, take) {
  const broken = (error) => {
    throw new Error(`${name} cannot be read to its end (${error.message}); try again`);
  };
  for (const reader = pieces.getReader(); ; ) {
    const { done, value } = await reader.read().catch(broken);
    if (done) break;
    take(value);
  }
}

// Gives the files of an archive in tar format to the engine, while the archive arrives in pieces.
function archive() {
  const header = new Uint8Array(512);
  const field = (from, to) => new TextDecoder().decode(header.subarray(from, to)).split("\0")[0];
  // Bytes of the header that have arrived, bytes of its file that have not, and bytes that fill the file's last block.
  let filled = 0;
  let missing = 0;
  let filling = 0;
  let ended = false;
  const taken = (piece) => {
    if (missing) {
      const part = piece.subarray(0, missing);
      engine.append(part);
      missing -= part.length;
      return part.length;
    }
    if (filling) {
      const part = Math.min(filling, piece.length);
      filling -= part;
      return part;
    }
    const part = piece.subarray(0, header.length - filled);
    header.set(part, filled);
    filled = (filled + part.length) % header.length;
    if (filled) return part.length;
    const name = field(0, 100);
    ended = !name;
    if (ended) return part.length;
    // Some servers answer with a page of their own instead of a file that is missing.
    if (field(257, 262) !== "ustar") throw new Error("the server sends no model; are all files of the page there?");
    missing = parseInt(field(124, 136), 8);
    filling = (512 - (missing % 512)) % 512;
    engine.beginFile(name, missing);
    return part.length;
  };
  const take = (piece) => {
    for (let at = 0; at < piece.length; ) at += taken(piece.subarray(at));
  };
  return { take, isWhole: () => ended };
}

// Receives the files of a model: those of the user, or the archive of a model that lies beside the page.
async function arrived({ model, bytes, files }) {
  engine.dropFiles();
  const all = files ? files.reduce((sum, file) => sum + file.size, 0) : bytes;
  let sum = 0;
  const counted = (take) => (piece) => {
    take(piece);
    tell((sum += piece.length) / all);
  };
  if (files) {
    tell(0, "reading your files");
    for (const file of files) {
      engine.beginFile(file.name, file.size);
      await read(file.name, file.stream(), counted((piece) => engine.append(piece)));
    }
    return;
  }
  const name = `${model}.tar`;
  const answer = await fetch(`models/${name}`);
  if (!answer.ok) throw new Error(`${answer.url}: the server answers ${answer.status}; are all files of the page there?`);
  const { take, isWhole } = archive();
  await read(name, answer.body, counted(take));
  if (!isWhole()) throw new Error(`${name} cannot be read to its end (only ${sum} bytes arrived); try again`);
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
    const style = engine.figureStyle();
    if (device === "host") return { device: about, style };
    const found = await adapter();
    return { device: about, style, reason: about.host ? (reason ?? passedOver(found)) : "", adapter: found?.name };
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
