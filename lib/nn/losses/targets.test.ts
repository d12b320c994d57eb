/**
 * Losses of sequence outputs [batch, steps, outputs], against values of that shape or class numbers [batch, steps],
 * with sample weights and without: values and gradients as Keras 3 gives them (test/fixtures/keras/targets.json).
 */

import { readFileSync } from "node:fs";
import { runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { gradients } from "../../autodiff/backward.ts";
import { GraphBuilder } from "../../onnx/builder.ts";
import { activationOf } from "../activations/table.ts";
import { lossOf } from "./table.ts";

type Fixture = {
  shape: number[];
  x: number[];
  weights: number[];
  cases: {
    name: string;
    activation: string;
    target: "classes" | "values";
    y: number[];
    weighted: boolean;
    loss: number;
    gradient: number[];
  }[];
};
const KERAS: Fixture = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/keras/targets.json", import.meta.url), "utf8"),
);
const positions = KERAS.shape.slice(0, -1);

describe("sequence outputs", () => {
  const titled = KERAS.cases.map((given) => ({
    ...given,
    title: `${given.name} against ${given.target}${given.weighted ? ", weighted" : ""}`,
  }));
  test.each(titled)("$title, as Keras", async (given) => {
    const graph = new GraphBuilder("loss");
    const x = graph.input("x", "FP32", KERAS.shape);
    const classes = given.target === "classes";
    const y = classes ? graph.input("y", "INT64", positions) : graph.input("y", "FP32", KERAS.shape);
    const weights = given.weighted ? graph.input("weights", "FP32", positions) : undefined;
    const { value } = activationOf(given.activation)(graph, { value: x });
    const logits = { value: x, activation: given.activation };
    const prediction = given.activation === "linear" ? { value } : { value, logits };
    const loss = lossOf(given.name).append(graph, prediction, y, weights);
    expect(loss.shape).toEqual([]);
    graph.output(gradients(graph, loss, [x])[0]!, "dx");
    graph.output(loss, "loss");
    const found = await runOnce(graph, {
      x: { shape: KERAS.shape, data: Float32Array.from(KERAS.x) },
      y: classes
        ? { shape: positions, data: BigInt64Array.from(given.y, BigInt), datatype: "INT64" }
        : { shape: KERAS.shape, data: Float32Array.from(given.y) },
      ...(weights && { weights: { shape: positions, data: Float32Array.from(KERAS.weights) } }),
    });
    expect(worstError([Number(found.loss!.data[0])], [given.loss])).toBeLessThan(1e-5);
    expect(worstError(found.dx!.data as Float32Array, given.gradient)).toBeLessThan(1e-5);
  });

  test("sparse cross-entropy against values says which loss takes them", () => {
    const graph = new GraphBuilder("loss");
    const x = graph.input("x", "FP32", [2, 4]);
    const y = graph.input("y", "FP32", [2, 4]);
    expect(() => lossOf("sparse_categorical_crossentropy").append(graph, { value: x }, y)).toThrow(
      "categorical_crossentropy takes them",
    );
  });

  test("values of another shape are refused with both", () => {
    const graph = new GraphBuilder("loss");
    const x = graph.input("x", "FP32", [2, 4]);
    const y = graph.input("y", "FP32", [2, 3]);
    expect(() => lossOf("mse").append(graph, { value: x }, y)).toThrow(
      "received [2,4] for values of [2,3], which would be [2,4] for it",
    );
  });
});
