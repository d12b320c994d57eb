/**
 * Runs of networks that draw noise and masks, with penalties and constraints on their weights: the same to the bit
 * from the same seed and after a restart, and their weights keep to the constraints.
 */

import { normals } from "../../test/support/graph-runner.ts";
import { labelled } from "../../test/support/labelled.ts";
import { lossOf } from "../nn/losses/table.ts";
import { parseNetwork } from "../nn/network.ts";
import { optimizerOf } from "../optim/table.ts";
import { RandomStream } from "../random/stream.ts";
import { TrainingRun } from "./training-run.ts";
import { namedWeights } from "./weight-layout.ts";

const COUNT = 37;
const layer = (class_name: string, config: Record<string, unknown> = {}) => ({ class_name, config });
const unit = (config: Record<string, unknown>) => ({ class_name: "MaxNorm", config });
const NETWORK = parseNetwork({
  class_name: "Sequential",
  config: {
    name: "net",
    layers: [
      layer("InputLayer", { batch_shape: [null, 7, 5, 2] }),
      layer("GaussianNoise", { stddev: 0.2 }),
      layer("Conv2D", {
        name: "conv",
        filters: 3,
        kernel_size: 3,
        activation: "leaky_relu",
        kernel_regularizer: "l2",
        kernel_constraint: unit({ max_value: 0.8, axis: [0, 1, 2] }),
      }),
      layer("SpatialDropout2D", { rate: 0.2 }),
      layer("PReLU", { shared_axes: [1, 2], alpha_constraint: "non_neg" }),
      layer("Flatten"),
      layer("GaussianDropout", { rate: 0.1 }),
      layer("AlphaDropout", { rate: 0.1 }),
      layer("Dense", { name: "dense", units: 3, activation: "softmax", activity_regularizer: "l1" }),
    ],
  },
});

function newRun(seed = 2): TrainingRun {
  const random = RandomStream.named(4, "labels");
  const labels = Uint8Array.from({ length: COUNT }, () => random.below(3));
  return new TrainingRun(
    {
      network: NETWORK,
      objective: [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }],
      optimizer: optimizerOf({ class_name: "Adam", config: { learning_rate: 0.05 } }),
      epochs: 3,
      batchSize: 8,
      seed,
      validationSplit: 0.2,
      threads: 1,
    },
    labelled([7, 5, 2], "FP32", normals("features", [COUNT, 7, 5, 2]), labels),
  );
}

class Stopped extends Error {}

/** A whole run, or one that is stopped at the given rest and set up anew. */
async function ran(seed?: number, stopAt = -1) {
  let run = newRun(seed);
  let rests = 0;
  const atRest = () => {
    if (rests++ === stopAt) throw new Stopped();
    return undefined;
  };
  try {
    const history = await run.run({ atRest }).catch((error) => {
      if (!(error instanceof Stopped)) throw error;
      const snapshot = run.snapshot();
      const stopped = run;
      run = newRun(seed);
      run.restore(snapshot);
      return stopped.close().then(() => run.run());
    });
    return { history: history.map(({ seconds: _, ...rest }) => rest), state: run.state(), plan: run.plan };
  } finally {
    await run.close();
  }
}

describe("a run with noise, masks, penalties and constraints", () => {
  test("is the same to the bit from the same seed, and another from another", async () => {
    const [first, second, other] = [await ran(2), await ran(2), await ran(3)];
    expect(second.state).toEqual(first.state);
    expect(second.history).toEqual(first.history);
    expect(other.state.weights).not.toEqual(first.state.weights);
  });

  test("ends the same when it is stopped and set up anew in between", async () => {
    const whole = await ran();
    for (const stopAt of [1, 5, 9]) {
      const { history, state } = await ran(undefined, stopAt);
      expect({ stopAt, history, state }).toEqual({ stopAt, history: whole.history, state: whole.state });
    }
  });

  test("learns, and its weights keep to their constraints", async () => {
    const { history, state, plan } = await ran();
    expect(history.at(-1)!.loss).toBeLessThan(history[0]!.loss);
    const weights = namedWeights(plan.trainedLayout, state.weights);
    const kernel = weights.get("conv/kernel")!;
    const [filters] = kernel.shape as [number];
    const size = kernel.data.length / filters;
    const norms = Array.from({ length: filters }, (_, f) =>
      Math.hypot(...kernel.data.subarray(f * size, (f + 1) * size)),
    );
    // The norm of each filter is at most 0.8, and one at least was held there.
    expect(Math.max(...norms)).toBeLessThan(0.8 + 1e-5);
    expect(Math.max(...norms)).toBeGreaterThan(0.8 - 1e-4);
    const alpha = [...weights].find(([name]) => name.endsWith("/alpha"))![1];
    expect(Math.min(...alpha.data)).toBeGreaterThanOrEqual(0);
  });
});
