// Runs the page's worker in Node, with Dawn as its WebGPU: node dawn.mjs FOLDER PACKAGES MESSAGES.
//
// FOLDER has the page, PACKAGES the npm package `webgpu`, and MESSAGES is a file with a JSON list of what the page
// would send to the worker. Each answer is printed as a line of JSON. The first error ends the process.
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, packages, messages] = process.argv.slice(2).map((path) => resolve(path));

// The names of a worker that the module, wgpu and `worker.js` use.
async function pretend(answered) {
  const { create, globals } = await import(pathToFileURL(join(packages, "webgpu/index.js")));
  const names = {
    ...globals,
    self: globalThis,
    WorkerGlobalScope: class {},
    navigator: { gpu: create(["backend=vulkan"]) },
    fetch: async (path) => new Response(await readFile(join(folder, path))),
    onmessage: null,
    postMessage: answered,
  };
  for (const [name, value] of Object.entries(names)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
}

async function main() {
  let settle;
  await pretend((answer) => {
    if (answer.stopped) settle.reject(new Error(`the engine stopped: ${answer.stopped}`));
    else if (answer.error) settle.reject(new Error(answer.error));
    else if (answer.id !== undefined) settle.resolve(answer);
  });
  await import(pathToFileURL(join(folder, "worker.js")));
  for (const [id, message] of JSON.parse(await readFile(messages, "utf8")).entries()) {
    const { file, ...answer } = await new Promise((resolve, reject) => {
      settle = { resolve, reject };
      globalThis.onmessage({ data: { id, ...message } });
    });
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

// Dawn keeps the process alive, so it is ended. What was written to a pipe is flushed first.
main().then(
  () => process.stdout.write("", () => process.exit(0)),
  (error) => {
    process.stderr.write(`${error.message.replace(/\s+/g, " ")}\n`, () => process.exit(1));
  },
);
