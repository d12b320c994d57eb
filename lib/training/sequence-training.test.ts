/**
 * A text-like task through training and serving: ids, padded, into an Embedding, an LSTM that skips the padding and a
 * Dense. The class is whether id 1 came before id 2, which no bag of ids can tell. What is served has ONNX's own
 * operator or the masked form; ids that have no row are refused before training and answered with an error.
 */

import { InferenceSession, Tensor } from "onnxruntime-node";
import { runOnce, worstError } from "../../test/support/graph-runner.ts";
import { labelled } from "../../test/support/labelled.ts";
import { compileInference } from "../nn/inference-graph.ts";
import { inKerasOrder } from "../nn/layer.ts";
import { lossOf } from "../nn/losses/table.ts";
import { buildNetwork, parseNetwork } from "../nn/network.ts";
import { GraphBuilder } from "../onnx/builder.ts";
import { optimizerOf } from "../optim/table.ts";
import { RandomStream } from "../random/stream.ts";
import { TrainingRun } from "./training-run.ts";
import { namedWeights } from "./weight-layout.ts";

const [ROWS, STEPS, COUNT] = [6, 8, 96];

const network = parseNetwork({
  class_name: "Sequential",
  config: {
    name: "order",
    layers: [
      { class_name: "InputLayer", config: { batch_shape: [null, STEPS], name: "ids", dtype: "int32" } },
      { class_name: "Embedding", config: { name: "words", input_dim: ROWS, output_dim: 6, mask_zero: true } },
      {
        class_name: "Bidirectional",
        config: { name: "both", layer: { class_name: "LSTM", config: { units: 8 } } },
      },
      { class_name: "Dense", config: { name: "out", units: 2, activation: "softmax" } },
    ],
  },
});

/** Ids 3 to 5 with one 1 and one 2 among them, and nothing behind a length of 4 to all steps. */
function examples(change?: (ids: Int32Array) => void) {
  const random = RandomStream.named(3, "ids");
  const ids = new Int32Array(COUNT * STEPS);
  const labels = Uint8Array.from({ length: COUNT }, (_, row) => {
    const length = 4 + random.below(STEPS - 3);
    for (let i = 0; i < length; i++) ids[row * STEPS + i] = 3 + random.below(ROWS - 3);
    const first = random.below(length - 1);
    const second = first + 1 + random.below(length - first - 1);
    const label = random.below(2);
    ids[row * STEPS + first] = label === 1 ? 1 : 2;
    ids[row * STEPS + second] = label === 1 ? 2 : 1;
    return label;
  });
  change?.(ids);
  return { ids, given: labelled([STEPS], "INT32", ids, labels) };
}

const start = (given: ReturnType<typeof examples>["given"], epochs: number) =>
  new TrainingRun(
    {
      network,
      objective: [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }],
      optimizer: optimizerOf({ class_name: "Adam", config: { learning_rate: 0.02 } }),
      epochs,
      batchSize: 16,
      seed: 5,
      validationSplit: 0,
      threads: 1,
    },
    given,
  );

async function train(epochs: number) {
  const { ids, given } = examples();
  const run = start(given, epochs);
  try {
    await run.run();
    const { loss } = await run.evaluate(Uint32Array.from({ length: COUNT }, (_, i) => i));
    return { ids, loss, weights: new Map(namedWeights(run.plan.trainedLayout, run.state().weights)) };
  } finally {
    await run.close();
  }
}

describe("training on sequences", () => {
  test("learns the order of words, twice the same to the bit, and serves what it learned", async () => {
    const { ids, loss, weights } = await train(30);
    expect(loss).toBeLessThan(0.1);
    const again = await train(30);
    for (const [name, { data }] of weights)
      expect({ name, same: data.join() === again.weights.get(name)!.data.join() }).toEqual({
        name,
        same: true,
      });

    const served = await InferenceSession.create(compileInference(network, weights).bytes, {
      logSeverityLevel: 4,
    });
    const ask = async (of: Int32Array) =>
      (await served.run({ ids: new Tensor("int32", of, [of.length / STEPS, STEPS]) })).out!
        .data as Float32Array;
    try {
      for (const count of [1, 5]) {
        const graph = new GraphBuilder("training");
        const fed = { shape: [count, STEPS], datatype: "INT32" as const, data: ids.slice(0, count * STEPS) };
        const built = buildNetwork(network, graph, [graph.input("ids", "INT32", fed.shape)], {
          training: true,
          weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
        });
        graph.output(inKerasOrder(graph, built.outputs[0]!), "out");
        const trained = await runOnce(graph, { ids: fed, ...Object.fromEntries(weights) });
        expect(worstError(await ask(fed.data), trained.out!.data as Float32Array)).toBeLessThan(2e-5);
      }
      // An id without a row is an error that names it, and the next question is answered.
      for (const wrong of [ROWS, -1])
        await expect(ask(new Int32Array(STEPS).fill(wrong))).rejects.toThrow(`idx=${ROWS}`);
      expect((await ask(ids.slice(0, STEPS))).length).toBe(2);
    } finally {
      await served.release();
    }
  });

  test.each([ROWS, -1])("refuses the id %d before the first step", (wrong) => {
    const { given } = examples((ids) => {
      ids[COUNT * STEPS - 1] = wrong;
    });
    expect(() => start(given, 1)).toThrow(`id ${wrong}`);
    expect(() => start(given, 1)).toThrow(`0 to ${ROWS - 1}`);
  });
});
