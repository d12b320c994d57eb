/**
 * The practical ceiling: node:http and onnxruntime-node with a batching policy of a few lines, and nothing else: one
 * model, no validation, no versions, no metrics. `/predict` takes `{"image": [pixels]}` and answers
 * `{"prediction": digit}`; `/raw` takes the bytes of what the model takes and answers ten float32 scores; the same over
 * gRPC (bare-grpc.ts). A batch goes to a worker thread when it is full, or its oldest request has waited `DELAY_MS`, or
 * a worker is idle and nothing is being computed; a second batch may wait behind the one that a worker computes.
 *
 * usage: bare-serve.ts MODEL.onnx WORKERS; says `listening on URL HOST:PORT TYPE`, the second for gRPC, the third what
 * `/raw` and gRPC take: uint8 or float32
 */

import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Worker } from "node:worker_threads";
import { IMAGE_PIXELS } from "../mnist.ts";
import type { ElementType } from "../reference-model.ts";
import { listenGrpc } from "./bare-grpc.ts";

const MAX_BATCH = 32;
const DELAY_MS = 1;
const MAX_IN_FLIGHT = 2;
const CLASSES = 10;

type Waiting = {
  /** Numbers, or the bytes of one image's elements. */
  image: number[] | Uint8Array;
  answer: (scores: Float32Array) => void;
  queuedAt: number;
};
type Runner = { worker: Worker; elementType: ElementType; batches: Waiting[][] };

const [model, workers] = process.argv.slice(2);
const queue: Waiting[] = [];
let running = 0;
let pumpQueued = false;
let timer: NodeJS.Timeout | undefined;

const runners = await Promise.all(Array.from({ length: Number(workers) }, startRunner));
const { elementType } = runners[0]!;

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  const raw = request.url === "/raw";
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
    if (raw) enqueue(body, (scores) => answerRaw(response, scores));
    else {
      const { image } = JSON.parse(body.toString()) as { image: number[] };
      enqueue(image, (scores) => answerJson(response, scores));
    }
  });
});
const grpcAddress = await listenGrpc(enqueue);
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  console.log(`listening on http://127.0.0.1:${port} ${grpcAddress} ${elementType}`);
});

function enqueue(image: Waiting["image"], answer: Waiting["answer"]): void {
  queue.push({ image, answer, queuedAt: performance.now() });
  pumpSoon();
}

function startRunner(): Promise<Runner> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./bare-worker.ts", import.meta.url), { workerData: { model } });
    worker.on("error", reject);
    worker.once("message", (elementType: ElementType) => {
      const runner: Runner = { worker, elementType, batches: [] };
      worker.on("message", (scores: Float32Array) => finish(runner, scores));
      resolve(runner);
    });
  });
}

/** Once per turn of the event loop, so that all that arrived in it is in the queue. */
function pumpSoon(): void {
  if (pumpQueued) return;
  pumpQueued = true;
  setImmediate(() => {
    pumpQueued = false;
    pump();
  });
}

function pump(): void {
  const now = performance.now();
  while (queue.length > 0) {
    const runner = runners.reduce((a, b) => (b.batches.length < a.batches.length ? b : a));
    if (runner.batches.length >= MAX_IN_FLIGHT) return;
    const waitedMs = now - queue[0]!.queuedAt;
    if (queue.length < MAX_BATCH && waitedMs < DELAY_MS && running > 0) {
      clearTimeout(timer);
      timer = setTimeout(pump, DELAY_MS - waitedMs);
      return;
    }
    send(runner, queue.splice(0, MAX_BATCH));
  }
}

function send(runner: Runner, batch: Waiting[]): void {
  const length = batch.length * IMAGE_PIXELS;
  const pixels = elementType === "uint8" ? new Uint8Array(length) : new Float32Array(length);
  const bytes = new Uint8Array(pixels.buffer);
  batch.forEach(({ image }, row) => {
    if (Array.isArray(image)) pixels.set(image, row * IMAGE_PIXELS);
    else bytes.set(image, row * IMAGE_PIXELS * pixels.BYTES_PER_ELEMENT);
  });
  runner.batches.push(batch);
  running++;
  runner.worker.postMessage(pixels, [pixels.buffer]);
}

function finish(runner: Runner, scores: Float32Array): void {
  running--;
  runner.batches.shift()?.forEach(({ answer }, row) => {
    answer(scores.subarray(row * CLASSES, (row + 1) * CLASSES));
  });
  if (queue.length > 0) pumpSoon();
}

function answerRaw(response: ServerResponse, scores: Float32Array): void {
  const body = Buffer.from(scores.buffer, scores.byteOffset, scores.byteLength);
  response
    .writeHead(200, { "content-type": "application/octet-stream", "content-length": body.length })
    .end(body);
}

function answerJson(response: ServerResponse, scores: Float32Array): void {
  let best = 0;
  for (let digit = 1; digit < CLASSES; digit++) if (scores[digit]! > scores[best]!) best = digit;
  const body = `{"prediction":${best}}`;
  response.writeHead(200, { "content-type": "application/json", "content-length": body.length }).end(body);
}
