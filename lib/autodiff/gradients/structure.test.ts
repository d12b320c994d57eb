/** What ONNX Runtime makes of gradients that only move data. Their values: finite-differences.test.ts. */

import { LoadedGraph, normals } from "../../../test/support/graph-runner.ts";
import { GraphBuilder } from "../../onnx/builder.ts";
import { integers } from "../../onnx/graph.ts";
import { pruned } from "../../onnx/passes/prune.ts";
import { gradients } from "../backward.ts";

describe("the gradient of padding named axes", () => {
  for (const axis of [0, -1])
    test(`is right between transpositions, for axis ${axis}`, async () => {
      const graph = new GraphBuilder("case");
      const x = graph.input("x", "FP32", [2, 3]);
      const axes = graph.initializer("axes", integers([axis]));
      const turned = graph.op("Transpose", [x], { perm: [1, 0] });
      const padded = graph.op("Pad", [turned, graph.ints([1, 3]), undefined, axes]);
      const back = graph.op("Transpose", [padded], { perm: [1, 0] });
      const [rows, columns] = back.shape as [number, number];
      // Fed: the runtime would compute the gradient of constants beforehand.
      const c = graph.input("c", "FP32", [rows, columns]);
      const loss = graph.op("ReduceSum", [graph.op("Mul", [back, c])], { keepdims: 0 });
      graph.output(gradients(graph, loss, [x])[0]!, "dx");

      const given = normals("c", [rows, columns]);
      // Without the padding itself, which names its axes.
      const loaded = await LoadedGraph.load(pruned(graph.build()));
      const { dx } = await loaded.run({
        c: { shape: [rows, columns], data: given },
        x: { shape: [2, 3], data: normals("x", [2, 3]) },
      });
      await loaded.release();
      const [down, right] = axis === 0 ? [0, 1] : [1, 0];
      const at = (i: number, j: number) => given[(i + down) * columns + j + right]!;
      const data = Float32Array.from([0, 1].flatMap((i) => [0, 1, 2].map((j) => at(i, j))));
      expect(dx).toEqual({ shape: [2, 3], datatype: "FP32", data });
    });
});
