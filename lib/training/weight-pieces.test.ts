/** A step whose update lies outside the graph against the same step with the update in it, where weights are large. */

import { InferenceSession, Tensor } from "onnxruntime-node";
import { labelled } from "../../test/support/labelled.ts";
import { lossOf } from "../nn/losses/table.ts";
import { parseNetwork } from "../nn/network.ts";
import { optimizerOf } from "../optim/table.ts";
import { compileTrainingStep, planWeights } from "./step-graph.ts";
import { StepRunner } from "./step-runner.ts";
import { initialWeights } from "./weight-layout.ts";

const layer = (class_name: string, config: object) => ({ class_name, config });
const network = parseNetwork({
  class_name: "Sequential",
  config: {
    name: "large",
    layers: [
      layer("InputLayer", { batch_shape: [null, 400], name: "x" }),
      layer("Dense", { units: 300, activation: "tanh", name: "wide" }),
      layer("Dense", { units: 7, activation: "softmax", name: "scores" }),
    ],
  },
});

test("a large weight's gradient, a tensor of its own, updates that weight", async () => {
  const [count, seed] = [6, 5];
  const images = Uint8Array.from({ length: count * 400 }, (_, i) => (i * 7919) % 3);
  const classes = Uint8Array.from({ length: count }, (_, i) => i);
  const data = labelled([400], "UINT8", images, classes);
  const objective = [{ loss: lossOf("sparse_categorical_crossentropy"), weight: 1 }];
  const optimizer = optimizerOf({ class_name: "SGD", config: { learning_rate: 0.1 } });
  const runner = new StepRunner({ network, objective, optimizer, seed, threads: 1, batchSize: count }, data);
  const { loss } = await runner.trainBatch(Uint32Array.from({ length: count }, (_, i) => i));
  const { weights } = runner.state();
  await runner.close();

  const plan = planWeights(network);
  const spec = { network, objective, batchSize: count, data };
  const session = await InferenceSession.create(compileTrainingStep(plan, spec, optimizer).bytes);
  const before = initialWeights(plan.trained, plan.trainedLayout, seed);
  const found = await session.run({
    "input/x": new Tensor("uint8", images, [count, 400]),
    [`target/${network.outputs[0]!.name}`]: new Tensor("uint8", classes, [count]),
    weights: new Tensor("float32", before, [before.length]),
    scalars: new Tensor("float32", [0.1], [1]),
  });
  await session.release();
  expect(loss).toBeCloseTo(Number(found.loss!.data[0]), 5);
  const next = found.weights_next!.data as Float32Array;
  const moved = (flat: Float32Array) => flat.map((value, i) => value - before[i]!);
  const [ours, theirs] = [moved(weights), moved(next)];
  expect(Math.max(...ours.map((value, i) => Math.abs(value - theirs[i]!)))).toBeLessThan(1e-6);
  for (const { offset, size } of plan.trainedLayout.slices)
    expect(theirs.subarray(offset, offset + size).some((value) => Math.abs(value) > 1e-4)).toBe(true);
});
