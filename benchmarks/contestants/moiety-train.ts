/**
 * Moiety as a training contestant: the step of `TrainingRun`, exactly as a training job's worker runs it, on
 * shuffled batches of the training set. Same line protocol as contestant.py.
 *
 * usage: moiety-train.ts MNIST_DIRECTORY CALIBRATION_STEPS (both unused: the data set is the built-in one, and
 * there is one practice)
 */

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import { loadDataset } from "../../lib/data/datasets.ts";
import { lossOf } from "../../lib/nn/losses/table.ts";
import { parseNetwork } from "../../lib/nn/network.ts";
import { optimizerOf } from "../../lib/optim/table.ts";
import { RandomStream } from "../../lib/random/stream.ts";
import { TrainingRun } from "../../lib/training/training-run.ts";

const BATCH = 32;
const SEED = 1;
const ARCHITECTURE_FILE = new URL("../../examples/mnist/cnn.json", import.meta.url);

try {
  const { train } = await loadDataset("mnist", undefined);
  const run = new TrainingRun(
    {
      network: parseNetwork(JSON.parse(readFileSync(ARCHITECTURE_FILE, "utf8"))),
      objective: [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }],
      optimizer: optimizerOf({ class_name: "Adam", config: {} }),
      epochs: 1,
      batchSize: BATCH,
      seed: SEED,
      validationSplit: 0,
      threads: availableParallelism(),
    },
    train,
  );
  const nextBatch = shuffledBatches(train.count);
  say({ ready: true, practice: "one ONNX graph per step", tried: {} });
  for await (const line of createInterface({ input: process.stdin })) {
    const { steps } = JSON.parse(line) as { steps: number };
    let loss = 0;
    let correct = 0;
    const start = performance.now();
    for (let step = 0; step < steps; step++) {
      const result = await run.trainBatch(nextBatch());
      loss += result.loss;
      correct += result.measures[1]!;
    }
    const msPerStep = (performance.now() - start) / steps;
    say({ msPerStep, loss: loss / steps, accuracy: correct / (steps * BATCH) });
  }
  await run.close();
} catch (error) {
  say({ error: (error as Error).stack });
  process.exitCode = 1;
}

/** Rows of full batches, shuffled anew each time the data is used up. */
function shuffledBatches(count: number): () => Uint32Array {
  const stream = RandomStream.named(SEED, "shuffle");
  const rows = Uint32Array.from({ length: count }, (_, row) => row);
  let at = count;
  return () => {
    if (at + BATCH > count) {
      stream.shuffle(rows);
      at = 0;
    }
    at += BATCH;
    return rows.subarray(at - BATCH, at);
  };
}

function say(message: unknown): void {
  console.log(JSON.stringify(message));
}
