/** Scalars that meet axes of size 1 get as many axes, and nothing else changes. */

import { LoadedGraph, normals } from "../../../test/support/graph-runner.ts";
import { GraphBuilder, type Value } from "../builder.ts";
import type { Graph } from "../graph.ts";
import { spreadScalars } from "./spread-scalars.ts";

const SHAPE = [2, 3, 1];

function build(append: (graph: GraphBuilder, x: Value) => Value, rewritten: boolean): Graph {
  const graph = new GraphBuilder("case");
  graph.output(append(graph, graph.input("x", "FP32", SHAPE)), "y");
  if (rewritten) spreadScalars(graph);
  return graph.build();
}

async function run(graph: Graph) {
  const loaded = await LoadedGraph.load(graph);
  const { y } = await loaded.run({ x: { shape: SHAPE, data: normals("x", SHAPE) } });
  await loaded.release();
  return y!;
}

const shapesRead = ({ nodes, initializers }: Graph) =>
  nodes.map(({ inputs }) => inputs.map((name) => initializers.get(name)?.shape));

describe("spreading scalars", () => {
  test("leaves every value as it was, whichever operand is the scalar", async () => {
    const append = (g: GraphBuilder, x: Value) =>
      g.op("Sub", [g.scalar(1), g.op("Div", [g.op("Mul", [x, g.scalar(3)]), g.scalar(7)])]);
    const spread = build(append, true);
    const [one, many] = [[1, 1, 1], undefined];
    expect(shapesRead(spread)).toEqual([
      [many, one],
      [many, one],
      [one, many],
    ]);
    expect(await run(spread)).toEqual(await run(build(append, false)));
  });

  test("takes no scalar that is computed, nor one that meets a last axis of more than 1", () => {
    const append = (g: GraphBuilder, x: Value) => {
      const mean = g.op("ReduceMean", [x], { keepdims: 0 });
      const row = g.op("Reshape", [g.op("Add", [x, mean]), g.ints([1, 6])]);
      return g.op("Mul", [row, g.scalar(2)]);
    };
    expect(build(append, true)).toEqual(build(append, false));
  });
});
