/**
 * Convolutions in the runtime's blocked layout against the same ones in plain operators: outputs and gradients of
 * images, weights and biases, for generated windows. The sums run over the same products in another order.
 */

import { LoadedGraph, normals, worstError } from "../../test/support/graph-runner.ts";
import { gradients } from "../autodiff/backward.ts";
import { RandomStream } from "../random/stream.ts";
import { channelBlock } from "../training/channel-block.ts";
import { GraphBuilder } from "./builder.ts";
import { BLOCKED_DOMAIN } from "./channel-blocks.ts";
import type { Attributes } from "./graph.ts";
import { lowerColumnConv } from "./passes/lower-column-conv.ts";

const random = RandomStream.named(31, "blocks");
const draw = (low: number, high: number) => low + random.below(high - low + 1);

/** Undefined: a processor for which the runtime has no such layout, where there is nothing to compare. */
const BLOCK = await channelBlock();

type Given = { x: number[]; w: number[]; bias: boolean; attributes: Attributes };

function drawConv(block: number): Given {
  const kernel = [draw(1, 3), draw(1, 3)];
  const strides = draw(0, 2) === 0 ? [draw(1, 2), draw(1, 2)] : [1, 1];
  const dilations = [draw(1, 2), draw(1, 2)];
  const reach = kernel.map((places, i) => dilations[i]! * (places - 1) + 1);
  const pads = [...reach, ...reach].map((size) => draw(0, size - 1));
  // Rows of more than 32 columns are shifted in another way.
  const size = [reach[0]! + draw(0, 5), reach[1]! + (draw(0, 4) === 0 ? draw(28, 33) : draw(0, 5))];
  // Images of fewer planes than a block are read as they are.
  const channels = draw(0, 3) === 0 ? draw(1, 4) : block * draw(1, 2);
  const filters = block * draw(1, 2);
  return {
    x: [channels, draw(1, 3), ...size],
    w: [filters, channels, ...kernel],
    bias: draw(0, 1) === 1,
    attributes: { kernel_shape: kernel, strides, dilations, pads },
  };
}

async function run({ x, w, bias, attributes }: Given, block?: number) {
  const graph = new GraphBuilder("case");
  const shapes: Record<string, number[]> = { x, w, ...(bias ? { b: [w[0]!] } : {}) };
  const inputs = Object.entries(shapes).map(([name, shape]) => graph.input(name, "FP32", shape));
  const y = graph.op("ColumnConv", inputs, attributes);
  const c = graph.initializer("c", {
    datatype: "FP32",
    shape: y.shape as number[],
    data: normals("c", y.shape as number[]),
  });
  const loss = graph.op("ReduceSum", [graph.op("Mul", [y, c])], { keepdims: 0 });
  gradients(graph, loss, inputs).forEach((gradient, i) => {
    graph.output(gradient, `d${inputs[i]!.name}`);
  });
  graph.output(y, "y");
  lowerColumnConv(graph, block);
  const blocked = graph.nodes.filter(({ domain, op }) => domain === BLOCKED_DOMAIN && op === "Conv").length;
  const loaded = await LoadedGraph.load(graph.build());
  const feeds = Object.entries(shapes).map(([name, shape]) => [name, { shape, data: normals(name, shape) }]);
  const results = await loaded.run(Object.fromEntries(feeds));
  await loaded.release();
  return { results, blocked };
}

describe("convolution by blocks of channels", () => {
  test("gives what plain operators give", async () => {
    if (BLOCK === undefined) return;
    const wrong: string[] = [];
    let blocked = 0;
    for (let i = 0; i < 30; i++) {
      const given = drawConv(BLOCK);
      const [plain, other] = [await run(given), await run(given, BLOCK)];
      blocked += other.blocked;
      expect(plain.blocked).toBe(0);
      for (const [name, { shape, data }] of Object.entries(plain.results)) {
        const found = other.results[name]!;
        // Up to 288 products to a sum, with values of about 17.
        const error = worstError(found.data as Float32Array, data as Float32Array);
        if (found.shape.join() !== shape.join() || !(error < 2e-5))
          wrong.push(`${name} of ${JSON.stringify(given)} is off by ${error}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(blocked).toBeGreaterThan(30);
  });

  test("is left alone where a block does not divide the channels or the filters, and for groups", async () => {
    const attributes = { kernel_shape: [2, 2] };
    for (const [x, w, group] of [
      [[8, 1, 3, 3], [12, 8, 2, 2], 1],
      [[12, 1, 3, 3], [8, 12, 2, 2], 1],
      [[3, 1, 3, 3], [12, 3, 2, 2], 1],
      [[16, 1, 3, 3], [16, 8, 2, 2], 2],
      [[8, 1, 3, 3], [8, 8, 1, 1], 1],
    ] as [number[], number[], number][]) {
      const kernel = w[2] === 1 ? { kernel_shape: [1, 1] } : attributes;
      const { blocked } = await run({ x, w, bias: true, attributes: { ...kernel, group } }, 8);
      expect(blocked).toBe(0);
    }
  });
});

describe("the size of a block", () => {
  test("is a power of two of at least eight, if there is one", () => {
    expect([undefined, 8, 16, 32]).toContain(BLOCK);
  });
});
