/**
 * The practical ceiling: node:http and onnxruntime-node with the same batching policy as the inference service (a
 * batch goes to an idle worker thread when it is full or its oldest request has waited `DELAY_MS`), and nothing
 * else: one route, one model, no validation, no versions, no metrics.
 *
 * usage: bare-serve.ts MODEL.onnx PORT WORKERS
 */

import { createServer, type ServerResponse } from "node:http";
import { Worker } from "node:worker_threads";
import { IMAGE_PIXELS } from "../mnist.ts";

const MAX_BATCH = 32;
const DELAY_MS = 1;
const CLASSES = 10;

type Waiting = { pixels: number[]; response: ServerResponse };

const [model, port, workers] = process.argv.slice(2);
const queue: Waiting[] = [];
const idle: Worker[] = [];
const running = new Map<Worker, Waiting[]>();
let timer: NodeJS.Timeout | undefined;
let due = false;

for (let i = 0; i < Number(workers); i++) {
  const worker = new Worker(new URL("./bare-worker.ts", import.meta.url), { workerData: { model } });
  worker.on("message", (scores: Float32Array) => {
    const batch = running.get(worker);
    running.delete(worker);
    idle.push(worker);
    dispatch();
    batch?.forEach(({ response }, row) => {
      answer(response, scores.subarray(row * CLASSES, (row + 1) * CLASSES));
    });
  });
  worker.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
}

createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = (chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)).toString();
    queue.push({ pixels: (JSON.parse(body) as { image: number[] }).image, response });
    timer ??= setTimeout(expire, DELAY_MS);
    dispatch();
  });
}).listen(Number(port), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${port}`));

function expire(): void {
  timer = undefined;
  due = true;
  dispatch();
}

/** Gives idle workers what is full or due. */
function dispatch(): void {
  while (idle.length > 0 && queue.length > 0 && (due || queue.length >= MAX_BATCH)) {
    const batch = queue.splice(0, MAX_BATCH);
    const pixels = new Uint8Array(batch.length * IMAGE_PIXELS);
    batch.forEach((waiting, row) => {
      pixels.set(waiting.pixels, row * IMAGE_PIXELS);
    });
    const worker = idle.pop()!;
    running.set(worker, batch);
    worker.postMessage(pixels, [pixels.buffer]);
    if (queue.length > 0) continue;
    due = false;
    clearTimeout(timer);
    timer = undefined;
  }
}

function answer(response: ServerResponse, scores: Float32Array): void {
  let best = 0;
  for (let digit = 1; digit < CLASSES; digit++) if (scores[digit]! > scores[best]!) best = digit;
  const body = `{"prediction":${best}}`;
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length }).end(body);
}
