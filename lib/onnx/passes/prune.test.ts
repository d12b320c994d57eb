/** What a graph computes stays; what is computed for nothing goes. */

import { LoadedGraph, normals } from "../../../test/support/graph-runner.ts";
import { GraphBuilder, type Value } from "../builder.ts";
import type { Graph } from "../graph.ts";
import { appendScan } from "../scan.ts";
import { pruned } from "./prune.ts";

function build(append: (graph: GraphBuilder, x: Value) => Value): Graph {
  const graph = new GraphBuilder("case");
  graph.output(append(graph, graph.input("x", "FP32", [2, 6])), "y");
  return graph.build();
}

const ops = ({ nodes }: Graph) => nodes.map(({ op }) => op);

async function run(graph: Graph) {
  const loaded = await LoadedGraph.load(graph);
  const { y } = await loaded.run({ x: { shape: [2, 6], data: normals("x", [2, 6]) } });
  await loaded.release();
  return y!;
}

describe("pruning", () => {
  test("drops nodes and constants that no output depends on, and no input", () => {
    const graph = build((g, x) => {
      const unused = g.input("unused", "FP32", [3]);
      g.op("Add", [g.op("Neg", [unused]), g.scalar(5)]);
      return g.op("Mul", [x, g.scalar(2)]);
    });
    const left = pruned(graph);
    expect(ops(left)).toEqual(["Mul"]);
    expect([...left.initializers.values()].map(({ data }) => data[0])).toEqual([2]);
    expect(left.inputs.map(({ name }) => name)).toEqual(["x", "unused"]);
  });

  test("has a Reshape read what the Reshapes before it read", async () => {
    const graph = build((g, x) => {
      const reshape = (value: Value, shape: number[]) => g.op("Reshape", [value, g.ints(shape)]);
      const column = reshape(reshape(x, [3, 4]), [12, 1]);
      return reshape(g.op("Neg", [reshape(column, [4, -1])]), [2, 2, 3]);
    });
    const left = pruned(graph);
    expect(ops(left)).toEqual(["Reshape", "Neg", "Reshape"]);
    expect(await run(left)).toEqual(await run(graph));
  });

  test("keeps a Reshape that is read by others too, or that gives the sizes of the next", async () => {
    const graph = build((g, x) => {
      const wide = g.op("Reshape", [x, g.ints([3, 4])]);
      const same = g.op("Reshape", [wide, g.ints([0, -1, 2])]);
      return g.op("Add", [g.op("Reshape", [wide, g.ints([3, 2, 2])]), same]);
    });
    const left = pruned(graph);
    expect(ops(left)).toEqual(["Reshape", "Reshape", "Reshape", "Add"]);
    expect(await run(left)).toEqual(await run(graph));
  });

  test("keeps what only the body of a Scan reads", async () => {
    const graph = build((g, x) => {
      const offset = g.op("Neg", [g.scalar(3)]);
      const [sums] = appendScan(
        g,
        { states: [g.op("Expand", [g.scalar(0), g.ints([6])])], sequences: [x] },
        (body, [sum], [row]) => ({
          states: [body.op("Add", [sum!, body.op("Mul", [row!, offset])])],
          slices: [],
        }),
      );
      return sums!;
    });
    const left = pruned(graph);
    expect(ops(left)).toEqual(ops(graph));
    expect(await run(left)).toEqual(await run(graph));
  });
});
