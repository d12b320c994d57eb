/**
 * Raw onnxruntime in a loop: as many worker threads as asked for, each with a session of one thread, running batches
 * that were made before, one after another, for some seconds. The ceiling of what those threads can do.
 *
 * usage: engine-ort.ts MODEL.onnx WORKERS; then an `EngineOrder` a line on stdin, an `EngineResult` a line on stdout
 */

import { createInterface } from "node:readline";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import type { EngineOrder, EngineResult } from "../engine.ts";
import { testImages } from "../mnist.ts";
import { openReferenceModel } from "../reference-model.ts";

const IMAGES = 256;

if (isMainThread) await conduct();
else await loop();

async function conduct(): Promise<void> {
  const [model, workers] = process.argv.slice(2);
  const threads = Array.from(
    { length: Number(workers) },
    () => new Worker(new URL(import.meta.url), { workerData: { model } }),
  );
  await Promise.all(threads.map((thread) => nextMessage<true>(thread)));
  console.log(JSON.stringify({ ready: true }));
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line) as EngineOrder;
    const rates = threads.map((thread) => nextMessage<number>(thread));
    for (const thread of threads) thread.postMessage(order);
    const imagesPerSecond = (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
    console.log(JSON.stringify({ imagesPerSecond } satisfies EngineResult));
  }
  await Promise.all(threads.map((thread) => thread.terminate()));
}

async function loop(): Promise<void> {
  const model = await openReferenceModel((workerData as { model: string }).model, 1);
  const images = testImages(IMAGES);
  const port = parentPort!;
  port.on("message", async ({ rows, seconds }: EngineOrder) => {
    const batches = Array.from({ length: Math.floor(IMAGES / rows) }, (_, i) =>
      model.feeds(Buffer.concat(images.slice(i * rows, (i + 1) * rows).map(({ pixels }) => pixels))),
    );
    const from = performance.now();
    const until = from + seconds * 1000;
    let done = 0;
    let now = from;
    for (; now < until; now = performance.now()) {
      await model.run(batches[done % batches.length]!);
      done++;
    }
    port.postMessage((done * rows * 1000) / (now - from));
  });
  port.postMessage(true);
}

function nextMessage<T>(thread: Worker): Promise<T> {
  return new Promise((resolve, reject) => {
    thread.once("message", resolve);
    thread.once("error", reject);
  });
}
