/**
 * Moiety in `bench:train`: steps of `TrainingRun`, as a training job takes them. Speaks the line protocol of
 * contestant.py, which also says what it is called with.
 */

import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import { loadDataset } from "../../lib/data/datasets.ts";
import { type Dataset, type Examples, memoryColumn, rowRange, rowsOf } from "../../lib/data/examples.ts";
import { lossOf } from "../../lib/nn/losses/table.ts";
import { parseNetwork } from "../../lib/nn/network.ts";
import { optimizerOf } from "../../lib/optim/table.ts";
import { RandomStream } from "../../lib/random/stream.ts";
import { TrainingRun } from "../../lib/training/training-run.ts";
import { NETWORKS, pixelsFor } from "../networks.ts";

const SEED = 1;
/** As contestant.py has it. */
const EVALUATE_STEPS = 256;
const MAX_EVALUATIONS = 40;
const KIB_PER_MIB = 1024;

type Request = { steps: number } | { first: true } | { timeTo: number } | { memory: true };

const net = process.argv[3]!;
const { architecture, batchSize, shape } = NETWORKS[net]!;

try {
  const mnist = await loadDataset("mnist", undefined);
  const examples = shaped(mnist);
  const trainCount = mnist.train.count;
  const newRun = () =>
    new TrainingRun(
      {
        network: parseNetwork(architecture),
        objective: [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }],
        optimizer: optimizerOf("Adam"),
        epochs: 1,
        batchSize,
        seed: SEED,
        validationSplit: 0,
        threads: availableParallelism(),
      },
      examples,
    );
  const run = newRun();
  const nextBatch = shuffledBatches(trainCount);
  const parameters = run.plan.trainedLayout.size;
  say({ ready: true, practice: "one ONNX graph per step", parameters, tried: {} });
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line) as Request;
    if ("steps" in request) say(await train(run, request.steps, nextBatch));
    else if ("first" in request) {
      await run.trainBatch(nextBatch());
      say({});
    } else if ("memory" in request) say({ peakMiB: process.resourceUsage().maxRSS / KIB_PER_MIB });
    else {
      const fresh = newRun();
      say(await trainTo(fresh, request.timeTo, nextBatch, rowRange(trainCount, examples.count)));
      await fresh.close();
    }
  }
  await run.close();
} catch (error) {
  say({ error: (error as Error).stack });
  process.exitCode = 1;
}

/** Training examples, then test examples, as the network takes them. */
function shaped({ train, test }: Dataset): Examples {
  const parts = [train, test].map(({ count, inputs, targets }) => ({
    pixels: pixelsFor(net, rowsOf(inputs[0]!, rowRange(0, count)) as Uint8Array),
    labels: rowsOf(targets[0]!, rowRange(0, count)) as Uint8Array,
  }));
  const [pixels, labels] = [joined(parts.map((p) => p.pixels)), joined(parts.map((p) => p.labels))];
  const { labelNames } = train.targets[0]!;
  return {
    count: labels.length,
    inputs: [memoryColumn({ name: "x", shape, datatype: "UINT8" }, pixels)],
    targets: [memoryColumn({ name: "label", shape: [], datatype: "UINT8", labelNames: labelNames! }, labels)],
  };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

async function train(run: TrainingRun, steps: number, nextBatch: () => Uint32Array) {
  let loss = 0;
  let right = 0;
  const start = performance.now();
  for (let step = 0; step < steps; step++) {
    const result = await run.trainBatch(nextBatch());
    loss += result.loss;
    right += result.measures[1]!;
  }
  const msPerStep = (performance.now() - start) / steps;
  return { msPerStep, loss: loss / steps, accuracy: right / (steps * batchSize) };
}

async function trainTo(run: TrainingRun, aim: number, nextBatch: () => Uint32Array, test: Uint32Array) {
  for (let evaluation = 1; ; evaluation++) {
    await train(run, EVALUATE_STEPS, nextBatch);
    const { accuracy } = await run.evaluate(test);
    if (accuracy! >= aim || evaluation === MAX_EVALUATIONS)
      return { accuracy, steps: evaluation * EVALUATE_STEPS };
  }
}

/** Rows of full batches, shuffled anew each time the data is used up. */
function shuffledBatches(count: number): () => Uint32Array {
  const stream = RandomStream.named(SEED, "shuffle");
  const rows = rowRange(0, count);
  let at = count;
  return () => {
    if (at + batchSize > count) {
      stream.shuffle(rows);
      at = 0;
    }
    at += batchSize;
    return rows.subarray(at - batchSize, at);
  };
}

function say(message: unknown): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
