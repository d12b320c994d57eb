/**
 * Moiety's inference plane with callers in its own process: a broker with registry and inference, and a number of
 * callers that each wait for one `inference.predict` before they make the next. The cache is off. Answers are compared
 * with onnxruntime before anything is measured.
 *
 * usage: engine-moiety.ts MODEL.onnx WORKERS DATA_DIRECTORY; then an `EngineOrder` a line on stdin, an `EngineResult`
 * a line on stdout
 */

import { createInterface } from "node:readline";
import { startNode, stopNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import type { PredictRequest, PredictResponse } from "../../lib/protocol/inference.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { callOf } from "../../mixins/config.ts";
import type { EngineOrder, EngineResult } from "../engine.ts";
import { testImages } from "../mnist.ts";
import { MODEL, referenceDigits } from "../published-model.ts";

const IMAGES = 256;
const CLASSES = 10;
const READY_DEADLINE_MS = 60_000;
const READY_POLL_MS = 50;

const [onnx, workers, directory] = process.argv.slice(2) as [string, string, string];
const images = testImages(IMAGES);
const broker = await startNode(
  readConfig({ MOIETY_DATA_DIR: directory, MOIETY_INFERENCE_WORKERS: workers, MOIETY_LOG_LEVEL: "error" }),
  ["registry", "inference"],
);
try {
  const call = callOf(broker);
  await untilReady();
  const {
    inputs: [input],
  } = await call("inference.metadata", { model: MODEL });
  const requestsOf = (rows: number): PredictRequest[] =>
    Array.from({ length: Math.floor(IMAGES / rows) }, (_, i) => ({
      model: MODEL,
      inputs: [tensorOf(images.slice(i * rows, (i + 1) * rows).map(({ pixels }) => pixels))],
      cache: false,
    }));
  const tensorOf = (rows: Uint8Array[]): Tensor => {
    const pixels = new Uint8Array(Buffer.concat(rows));
    return {
      name: input!.name,
      datatype: input!.datatype,
      shape: [rows.length, ...input!.shape.slice(1)],
      data: input!.datatype === "FP32" ? Float32Array.from(pixels) : pixels,
    };
  };
  const digits = await referenceDigits(onnx, images);
  for (const rows of [1, 8]) await check(requestsOf(rows), rows, digits);
  say({ ready: true });

  for await (const line of createInterface({ input: process.stdin })) {
    const { rows, callers, seconds } = JSON.parse(line) as EngineOrder;
    const requests = requestsOf(rows);
    const from = performance.now();
    const until = from + seconds * 1000;
    let asked = 0;
    let answered = 0;
    const caller = async (): Promise<void> => {
      while (performance.now() < until) {
        await call("inference.predict", requests[asked++ % requests.length]!);
        if (performance.now() < until) answered++;
      }
    };
    await Promise.all(Array.from({ length: callers }, caller));
    say({ imagesPerSecond: (answered * rows) / seconds } satisfies EngineResult);
  }
} catch (error) {
  say({ error: (error as Error).message });
} finally {
  await stopNode(broker);
}

async function untilReady(): Promise<void> {
  const until = performance.now() + READY_DEADLINE_MS;
  for (;;) {
    const { ready, reason } = await callOf(broker)("inference.ready", {});
    if (ready) return;
    if (performance.now() > until) throw new Error(`not ready after ${READY_DEADLINE_MS} ms: ${reason}`);
    await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
  }
}

/** All at once, so that rows of several callers share batches. */
async function check(requests: PredictRequest[], rows: number, digits: readonly number[]): Promise<void> {
  const answers = await Promise.all(requests.map((request) => callOf(broker)("inference.predict", request)));
  const got = answers.flatMap((answer) => digitsOf(answer, rows));
  const wrong = got.filter((digit, i) => digit !== digits[i]).length;
  if (wrong > 0) throw new Error(`${wrong} of ${got.length} answers differ from onnxruntime's`);
}

function digitsOf({ outputs: [output] }: PredictResponse, rows: number): number[] {
  const scores = output!.data as Float32Array;
  return Array.from({ length: rows }, (_, row) => {
    const own = scores.subarray(row * CLASSES, (row + 1) * CLASSES);
    return own.indexOf(Math.max(...own));
  });
}

function say(message: object): void {
  console.log(JSON.stringify(message));
}
