/**
 * The short way to softmax's gradient in attention against the long one, which finite differences hold to the
 * definition: an Identity in between hides the products from the rule. Sums of some ten terms in another order.
 */

import { type Fed, normals, runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { GraphBuilder, type Value } from "../../onnx/builder.ts";
import { literalOf } from "../../onnx/graph.ts";
import { gradients } from "../backward.ts";

type Options = { size: number; dropped: boolean; hidden: boolean; twice?: boolean };

function build({ size, dropped, hidden, twice }: Options) {
  const graph = new GraphBuilder("attention");
  const feeds: Record<string, Fed> = {};
  const input = (name: string, shape: number[]) => {
    feeds[name] = { shape, data: normals(name, shape) };
    return graph.input(name, "FP32", shape);
  };
  const [scores, values] = [input("scores", [2, 3, 5]), input("values", [2, 5, size])];
  const mask = graph.initializer("mask", literalOf(normals("mask", [2, 3, 5]), [2, 3, 5]));
  const probabilities = graph.op("Softmax", [scores], { axis: -1 });
  const seen: Value = hidden ? graph.op("Identity", [probabilities]) : probabilities;
  const result = graph.op("MatMul", [dropped ? graph.op("Mul", [seen, mask]) : seen, values]);
  const cotangent = graph.initializer("c", literalOf(normals("c", [2, 3, size]), [2, 3, size]));
  const parts = [graph.op("Mul", [result, cotangent]), ...(twice ? [graph.op("Mul", [seen, mask])] : [])];
  const loss = parts
    .map((part) => graph.op("ReduceSum", [part], { keepdims: 0 }))
    .reduce((sum, part) => graph.op("Add", [sum, part]));
  gradients(graph, loss, [scores, values]).forEach((gradient, i) => {
    graph.output(gradient, `d${i}`);
  });
  const folded = graph.nodes.filter(({ op }) => op === "ReduceSum").map(({ inputs }) => inputs[0]!);
  return { graph, feeds, sizes: folded.map((name) => graph.valueOf(name).shape.at(-1)) };
}

describe("softmax that weighs values", () => {
  test.each([
    ["values of fewer numbers than there are keys", { size: 4, dropped: false }, 4],
    ["weights of which some are dropped", { size: 4, dropped: true }, 4],
    ["values of more numbers than there are keys", { size: 6, dropped: false }, 5],
    ["weights that are read elsewhere too", { size: 4, dropped: false, twice: true }, 5],
  ])("has the same gradient by either way: %s", async (_, options, folded) => {
    const [short, long] = [build({ ...options, hidden: false }), build({ ...options, hidden: true })];
    expect(short.sizes.at(-1)).toBe(folded);
    expect(long.sizes.at(-1)).toBe(5);
    const [found, expected] = [
      await runOnce(short.graph, short.feeds),
      await runOnce(long.graph, long.feeds),
    ];
    for (const name of ["d0", "d1"])
      expect(
        worstError(found[name]!.data as Float32Array, expected[name]!.data as Float32Array),
      ).toBeLessThan(1e-6);
  });
});
