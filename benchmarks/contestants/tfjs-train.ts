/**
 * TensorFlow.js with its native library: a layers model and `trainOnBatch`, as its documentation has it, on batches
 * gathered from uint8 data in memory. Its layers have no attention, so it has no Transformer. Speaks the line protocol
 * of contestant.py.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { NETWORKS, pixelsFor } from "../networks.ts";
import { loadTfjs } from "./load-tfjs.ts";

/** As contestant.py has them. */
const EVALUATE_STEPS = 256;
const MAX_EVALUATIONS = 40;
const KIB_PER_MIB = 1024;
const IMAGES_HEADER_BYTES = 16;
const LABELS_HEADER_BYTES = 8;

type Request = { steps: number } | { first: true } | { timeTo: number } | { memory: true };
type Digits = { pixels: Uint8Array; labels: Uint8Array };

const [, , directory, net] = process.argv as [string, string, string, string];
const { architecture, batchSize, shape } = NETWORKS[net]!;
const size = shape.reduce((a, b) => a * b, 1);

try {
  const tf = loadTfjs();
  const training = digits("train");
  const model = await newModel(tf);
  say({ ready: true, practice: "trainOnBatch", parameters: model.countParams(), tried: {} });
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line) as Request;
    if ("steps" in request) say(await train(tf, model, training, request.steps));
    else if ("first" in request) {
      await train(tf, model, training, 1);
      say({});
    } else if ("memory" in request) say({ peakMiB: process.resourceUsage().maxRSS / KIB_PER_MIB });
    else say(await trainTo(tf, training, request.timeTo));
  }
} catch (error) {
  say({ error: (error as Error).stack });
  process.exitCode = 1;
}

type Model = Awaited<ReturnType<typeof newModel>>;

async function newModel(tf: ReturnType<typeof loadTfjs>) {
  const model = await tf.loadLayersModel(
    {
      load: async () => ({
        modelTopology: JSON.parse(
          JSON.stringify(architecture).replaceAll("batch_shape", "batch_input_shape"),
        ),
      }),
    },
    { strict: false },
  );
  model.compile({
    optimizer: tf.train.adam(),
    loss: "sparseCategoricalCrossentropy",
    metrics: ["accuracy"],
  });
  return model;
}

function digits(part: "train" | "t10k"): Digits {
  const images = readFileSync(join(directory, `${part}-images-idx3-ubyte`)).subarray(IMAGES_HEADER_BYTES);
  const labels = readFileSync(join(directory, `${part}-labels-idx1-ubyte`)).subarray(LABELS_HEADER_BYTES);
  return { pixels: pixelsFor(net, images), labels };
}

async function train(tf: ReturnType<typeof loadTfjs>, model: Model, data: Digits, steps: number) {
  let loss = 0;
  let accuracy = 0;
  const start = performance.now();
  for (let step = 0; step < steps; step++) {
    const rows = Array.from({ length: batchSize }, () => Math.floor(Math.random() * data.labels.length));
    const pixels = new Float32Array(batchSize * size);
    for (const [i, row] of rows.entries())
      pixels.set(data.pixels.subarray(row * size, (row + 1) * size), i * size);
    const x = tf.tensor(pixels, [batchSize, ...shape]);
    const y = tf.tensor(
      rows.map((row) => data.labels[row]!),
      [batchSize, 1],
      "float32",
    );
    const [batchLoss, batchAccuracy] = (await model.trainOnBatch(x, y)) as number[];
    loss += batchLoss!;
    accuracy += batchAccuracy!;
    tf.dispose([x, y]);
  }
  const msPerStep = (performance.now() - start) / steps;
  return { msPerStep, loss: loss / steps, accuracy: accuracy / steps };
}

async function trainTo(tf: ReturnType<typeof loadTfjs>, data: Digits, aim: number) {
  const model = await newModel(tf);
  const test = digits("t10k");
  const count = test.labels.length;
  const x = tf.tensor(Float32Array.from(test.pixels), [count, ...shape]);
  const y = tf.tensor(Float32Array.from(test.labels), [count, 1]);
  for (let evaluation = 1; ; evaluation++) {
    await train(tf, model, data, EVALUATE_STEPS);
    const [, scored] = model.evaluate(x, y, { batchSize: 256 }) as { dataSync(): ArrayLike<number> }[];
    const accuracy = scored!.dataSync()[0]!;
    if (accuracy >= aim || evaluation === MAX_EVALUATIONS)
      return { accuracy, steps: evaluation * EVALUATE_STEPS };
  }
}

function say(message: unknown): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
