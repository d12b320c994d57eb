/**
 * One whole training step of the MNIST network of examples/mnist, batch 5, against Keras: the same initial weights
 * (a formula both sides compute), the same images, the new weights compared.
 *
 * Gradients are float32 sums of up to 5·26·26 terms; summed in another order they differ by about 1e-6 of their
 * size. SGD at rate 0.1 passes that on: 1e-5·(1 + |w|). Adam's first step is rate·g/(|g| + ε'), at most 0.001
 * whatever g; where g is near ε' = 3e-6 an error of 1e-8 in g moves it by 3e-6: 1e-5·(1 + |w|) again.
 */

import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { worstError } from "../../test/support/graph-runner.ts";
import { labelled } from "../../test/support/labelled.ts";
import { lossOf } from "../nn/losses/table.ts";
import { parseNetwork } from "../nn/network.ts";
import { optimizerOf } from "../optim/table.ts";
import { channelBlock } from "./channel-block.ts";
import { compileEvaluationStep, compileTrainingStep, planWeights } from "./step-graph.ts";

type Picked = { at: number[]; value: number[]; sum: number; sumSquares: number };
type Expected = { loss: number; after: number; weights: Record<string, Picked> };

const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));
const KERAS: { batch: number; labels: number[]; adam: Expected; sgd: Expected } = read(
  "../../test/fixtures/keras/mnist-step.json",
);
/** Undefined on processors for which the runtime has no blocked layout. */
const BLOCK = await channelBlock();
const network = parseNetwork(read("../../examples/mnist/cnn.json"));
const plan = planWeights(network);

/** Place in our flat weight of each element of Keras's: kernels [KH, KW, C, F] there, [F, C, KH, KW] here. */
function places(shape: readonly number[]): Uint32Array {
  const size = shape.reduce((a, b) => a * b, 1);
  if (shape.length !== 4) return Uint32Array.from({ length: size }, (_, i) => i);
  const [filters, depth, kh, kw] = shape as [number, number, number, number];
  return Uint32Array.from({ length: size }, (_, i) => {
    const f = i % filters;
    const c = Math.floor(i / filters) % depth;
    const x = Math.floor(i / (filters * depth)) % kw;
    const y = Math.floor(i / (filters * depth * kw));
    return ((f * depth + c) * kh + y) * kw + x;
  });
}

/** Element i of weight k in Keras's order: scale·sin((1.7·i² mod 1000) + 0.37·i + k). */
function initial(): Float32Array {
  const flat = new Float32Array(plan.trainedLayout.size);
  plan.trainedLayout.slices.forEach(({ shape, offset, size }, k) => {
    const units = shape.length === 4 ? shape[0]! : shape.at(-1)!;
    const scale = shape.length > 1 ? Math.sqrt(2 / (size / units)) : 0.05;
    places(shape).forEach((place, i) => {
      flat[offset + place] = scale * Math.sin(((1.7 * i * i) % 1000) + 0.37 * i + k);
    });
  });
  return flat;
}

const images = Uint8Array.from({ length: KERAS.batch * 784 }, (_, i) => (i * 7919) % 256);
const OUTPUT = network.outputs[0]!.name;
const vector = (data: Float32Array) => new Tensor("float32", data, [data.length]);
const batch = {
  [`input/${network.inputs[0]!.name}`]: new Tensor("uint8", images, [KERAS.batch, 28, 28, 1]),
  [`target/${OUTPUT}`]: new Tensor("uint8", Uint8Array.from(KERAS.labels), [KERAS.batch]),
};
const options = {
  network,
  objective: [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }],
  batchSize: KERAS.batch,
  data: labelled([28, 28, 1], "UINT8", images, Uint8Array.from(KERAS.labels)),
};

describe("a training step of the MNIST network", () => {
  for (const [name, optimizer, block] of [
    ["adam", optimizerOf("Adam")],
    ["sgd", optimizerOf({ class_name: "SGD", config: { learning_rate: 0.1 } })],
    ["sgd", optimizerOf({ class_name: "SGD", config: { learning_rate: 0.1 } }), BLOCK],
  ] as const)
    test(`with ${name} ${block ? "and blocked channels " : ""}gives Keras's loss and new weights`, async () => {
      const expected = KERAS[name];
      const spec = { ...options, channelBlock: block };
      const session = await InferenceSession.create(compileTrainingStep(plan, spec, optimizer).bytes);
      const found = await session.run({
        ...batch,
        weights: vector(initial()),
        scalars: vector(Float32Array.from(optimizer.scalars(1, optimizer.learningRate.at(1)))),
        ...Object.fromEntries(
          optimizer.slots.map((slot) => [`slot/${slot}`, vector(new Float32Array(plan.trainedLayout.size))]),
        ),
      });
      await session.release();
      expect(Number(found.loss!.data[0])).toBeCloseTo(expected.loss, 5);
      const next = found.weights_next!.data as Float32Array;
      const picked = Object.values(expected.weights);
      expect(plan.trainedLayout.slices).toHaveLength(picked.length);
      plan.trainedLayout.slices.forEach(({ shape, offset, size }, k) => {
        const { at, value, sum, sumSquares } = picked[k]!;
        const place = places(shape);
        const ours = at.map((i) => next[offset + place[i]!]!);
        expect(worstError(ours, value)).toBeLessThan(1e-5);
        // And over all elements: errors of either sign, so the sums agree far better than each.
        const whole = next.subarray(offset, offset + size);
        expect(Math.abs(whole.reduce((a, v) => a + v, 0) - sum)).toBeLessThan(1e-6 * size + 1e-4);
        expect(whole.reduce((a, v) => a + v * v, 0) / sumSquares).toBeCloseTo(1, 5);
      });

      const evaluation = await InferenceSession.create(compileEvaluationStep(plan, options));
      const after = await evaluation.run({ ...batch, weights: vector(next) });
      await evaluation.release();
      expect(Number(after.loss!.data[0])).toBeCloseTo(expected.after, 4);
      expect(after[`prediction/${OUTPUT}`]!.dims).toEqual([KERAS.batch, 10]);
    });
});
