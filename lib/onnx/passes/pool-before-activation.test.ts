/** The rewritten graph gives what the graph as declared gives, and is only rewritten where that holds. */

import { normals, runOnce } from "../../../test/support/graph-runner.ts";
import { GraphBuilder, type Value } from "../builder.ts";
import { type Attributes, float } from "../graph.ts";
import { poolBeforeActivation } from "./pool-before-activation.ts";

function chain(
  op: string,
  more: (graph: GraphBuilder, activated: Value) => void = () => {},
  attributes: Attributes = {},
): GraphBuilder {
  const graph = new GraphBuilder("g");
  const x = graph.input("x", "FP32", [1, 2, 5, 6]);
  const activated = graph.op(op, [x], attributes);
  const pooled = graph.op("MaxPool", [activated], {
    kernel_shape: [3, 2],
    strides: [2, 2],
    pads: [1, 0, 1, 0],
  });
  graph.output(graph.op("Neg", [pooled]), "y");
  more(graph, activated);
  return graph;
}

const order = (graph: GraphBuilder) => graph.nodes.map(({ op }) => op).filter((op) => op !== "Identity");
const feeds = { x: { shape: [1, 2, 5, 6], data: normals("x", [1, 2, 5, 6]) } };

describe("pooling before activation", () => {
  test.each(["Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Selu", "Elu", "LeakyRelu", "HardSigmoid"])(
    "%s moves behind the pool and the values stay",
    async (op) => {
      const [declared, rewritten] = [chain(op), chain(op)];
      poolBeforeActivation(rewritten, new Set());
      expect(order(rewritten)).toEqual(["MaxPool", op, "Neg"]);
      expect((await runOnce(rewritten, feeds)).y).toEqual((await runOnce(declared, feeds)).y);
    },
  );

  test("Clip moves with its bounds", async () => {
    const clipped = () => {
      const graph = new GraphBuilder("g");
      const x = graph.input("x", "FP32", [1, 2, 5, 6]);
      const y = graph.op("Clip", [x, graph.scalar(-0.5), graph.scalar(0.75)]);
      graph.output(graph.op("Neg", [graph.op("MaxPool", [y], { kernel_shape: [2, 2] })]), "y");
      return graph;
    };
    const [declared, rewritten] = [clipped(), clipped()];
    poolBeforeActivation(rewritten, new Set());
    expect(order(rewritten)).toEqual(["MaxPool", "Clip", "Neg"]);
    expect((await runOnce(rewritten, feeds)).y).toEqual((await runOnce(declared, feeds)).y);
  });

  test.each(["LeakyRelu", "Elu", "HardSigmoid"])("%s with a negative slope stays where it is", (op) => {
    const graph = chain(op, () => {}, { alpha: float(-0.1) });
    poolBeforeActivation(graph, new Set());
    expect(order(graph)).toEqual([op, "MaxPool", "Neg"]);
  });

  test.each(["Neg", "Abs", "Exp"])("%s stays where it is", (op) => {
    const graph = chain(op);
    poolBeforeActivation(graph, new Set());
    expect(order(graph)).toEqual([op, "MaxPool", "Neg"]);
  });

  test("an activation that others read, or that is kept, stays where it is", () => {
    const read = chain("Relu", (graph, activated) => graph.output(graph.op("Exp", [activated]), "z"));
    poolBeforeActivation(read, new Set());
    expect(order(read).slice(0, 2)).toEqual(["Relu", "MaxPool"]);
    const kept = chain("Relu");
    poolBeforeActivation(kept, new Set(["relu"]));
    expect(order(kept)).toEqual(["Relu", "MaxPool", "Neg"]);
  });
});
