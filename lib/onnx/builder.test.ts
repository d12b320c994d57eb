/** Names and outputs of graphs under construction. */

import { runOnce } from "../../test/support/graph-runner.ts";
import { InvalidModelError } from "../errors.ts";
import { GraphBuilder } from "./builder.ts";
import { literalOf } from "./graph.ts";

describe("names of values", () => {
  test("never repeat, whatever is asked for in whatever order", () => {
    const graph = new GraphBuilder("g");
    const asked = ["x", "x", "x_1", "x", "x_2", "x_1", "x_1_1", "x", "x_1"];
    const names = asked.map((stem) => graph.unique(stem));
    expect(new Set(names).size).toBe(names.length);
    expect(names.every((name, i) => name.startsWith(asked[i]!))).toBe(true);
  });

  test("equal constants are one", () => {
    const graph = new GraphBuilder("g");
    expect(graph.scalar(2)).toBe(graph.scalar(2));
    expect(graph.ints([1, 2])).toBe(graph.ints([1, 2]));
    expect(graph.scalar(2)).not.toBe(graph.scalar(3));
    expect(graph.ints([12])).not.toBe(graph.ints([1, 2]));
  });
});

describe("outputs", () => {
  const x = { x: { shape: [2], data: Float32Array.of(-1, 2) } };

  test("an input, a constant and a value given twice become outputs of their own", async () => {
    const graph = new GraphBuilder("g");
    const input = graph.input("x", "FP32", [2]);
    const y = graph.op("Neg", [input]);
    graph.output(input, "same");
    graph.output(graph.initializer("c", literalOf(Float32Array.of(7), [1])), "constant");
    graph.output(y, "once");
    graph.output(y, "twice");
    const found = await runOnce(graph, x);
    expect(Object.fromEntries(Object.entries(found).map(([name, { data }]) => [name, [...data]]))).toEqual({
      same: [-1, 2],
      constant: [7],
      once: [1, -2],
      twice: [1, -2],
    });
  });

  test("an output may be called as an inner value is", async () => {
    const graph = new GraphBuilder("g");
    const inner = graph.op("Relu", [graph.input("x", "FP32", [2])]);
    expect(inner.name).toBe("relu");
    graph.output(graph.op("Neg", [inner]), "relu");
    const found = await runOnce(graph, x);
    expect([...found.relu!.data].map((v) => Number(v) + 0)).toEqual([0, -2]);
  });

  test("a name in use by an input, a constant or another output is refused", () => {
    for (const name of ["x", "c", "y"]) {
      const graph = new GraphBuilder("g");
      const input = graph.input("x", "FP32", [2]);
      const constant = graph.initializer("c", literalOf(Float32Array.of(1), [1]));
      graph.output(graph.op("Neg", [input]), "y");
      graph.output(graph.op("Mul", [input, constant]), name);
      expect(() => graph.build()).toThrow(InvalidModelError);
      expect(() => graph.build()).toThrow(`output '${name}' has a name already in use`);
    }
  });

  test("a further output of a node is made once", async () => {
    const graph = new GraphBuilder("g");
    const image = graph.input("x", "FP32", [1, 1, 2, 2]);
    const y = graph.op("MaxPool", [image], { kernel_shape: [2, 2] });
    const indices = graph.extraOutput(graph.nodes[0]!, 1);
    expect(graph.extraOutput(graph.nodes[0]!, 1)).toBe(indices);
    expect(() => graph.extraOutput(graph.nodes[0]!, 2)).toThrow(InvalidModelError);
    graph.output(y, "y");
    graph.output(indices, "at");
    const found = await runOnce(graph, { x: { shape: [1, 1, 2, 2], data: Float32Array.of(1, 5, 3, 4) } });
    expect([...found.at!.data]).toEqual([1n]);
  });
});
