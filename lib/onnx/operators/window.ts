/** Convolution and pooling: operators that slide a window over the spatial axes of [N, C, ...]. */

import type { Dim } from "../graph.ts";
import { describe, type NodeView, type ShapeRule } from "./rule.ts";

type Window = { kernel: number[]; strides: number[]; dilations: number[]; pads: number[] };

/** Window attributes with their defaults; explicit `pads` only (`auto_pad` is deprecated). */
export function windowOf(n: NodeView, kernel: number[]): Window {
  const ones = kernel.map(() => 1);
  if (!["NOTSET", "VALID"].includes(n.string("auto_pad", "NOTSET")))
    n.fail("auto_pad is not supported: give pads");
  return {
    kernel,
    strides: n.ints("strides") ?? ones,
    dilations: n.ints("dilations") ?? ones,
    pads: n.ints("pads") ?? [...kernel, ...kernel].map(() => 0),
  };
}

function slide(n: NodeView, spatial: readonly Dim[], w: Window, ceil: boolean): Dim[] {
  return spatial.map((size, i) => {
    if (typeof size !== "number") return n.fail(`spatial size '${size}' must be known`);
    const reach = w.dilations[i]! * (w.kernel[i]! - 1) + 1;
    const room = size + w.pads[i]! + w.pads[i + spatial.length]! - reach;
    if (room < 0) n.fail(`window of ${reach} does not fit size ${size}`);
    if (!ceil) return Math.floor(room / w.strides[i]!) + 1;
    const last = Math.ceil(room / w.strides[i]!);
    // Of a last window that begins beyond the input, opset 18 says it counts and the runtime that it does not.
    if (last * w.strides[i]! >= size + w.pads[i]!)
      n.fail("ceil_mode adds a window that begins in the padding");
    return last + 1;
  });
}

const conv: ShapeRule = (n) => {
  const [x, weight] = [n.input(0), n.input(1)];
  const group = n.int("group", 1);
  const [filters, depth, ...kernel] = weight.shape as number[];
  if (x.shape.length !== weight.shape.length || x.shape[1] !== depth! * group)
    n.fail(`input ${describe(x.shape)} does not fit weights ${describe(weight.shape)} in ${group} group(s)`);
  const spatial = slide(n, x.shape.slice(2), windowOf(n, kernel), false);
  return [{ datatype: x.datatype, shape: [x.shape[0]!, filters!, ...spatial] }];
};

/** Moiety's own (see passes/lower-column-conv.ts): a convolution with the channels before the batch. */
const columnConv: ShapeRule = (n) => {
  const [x, weight] = [n.input(0), n.input(1)];
  const group = n.int("group", 1);
  const [filters, depth, ...kernel] = weight.shape as number[];
  if (x.shape.length !== 4 || x.shape[0] !== depth! * group || filters! % group !== 0)
    n.fail(`input ${describe(x.shape)} does not fit weights ${describe(weight.shape)} in ${group} group(s)`);
  const spatial = slide(n, x.shape.slice(2), windowOf(n, kernel), false);
  return [{ datatype: x.datatype, shape: [filters!, x.shape[1]!, ...spatial] }];
};

/** The gradient of its image, of size `image`, from that of its output and the weights. */
const columnConvImage: ShapeRule = (n) => {
  const [g, weight] = [n.input(0), n.input(1)];
  const image = n.ints("image") ?? n.fail("image is missing");
  const channels = (weight.shape[1] as number) * n.int("group", 1);
  if (g.shape[0] !== weight.shape[0])
    n.fail(`gradient ${describe(g.shape)} does not fit weights ${describe(weight.shape)}`);
  return [{ datatype: g.datatype, shape: [channels, g.shape[1]!, ...image] }];
};

/** The gradient of its weights, from its image and the gradient of its output. */
const columnConvKernel: ShapeRule = (n) => {
  const [x, g] = [n.input(0), n.input(1)];
  const kernel = n.ints("kernel_shape") ?? n.fail("kernel_shape is missing");
  if (x.shape[1] !== g.shape[1]) n.fail(`${describe(x.shape)} and ${describe(g.shape)} are of two batches`);
  const depth = (x.shape[0] as number) / n.int("group", 1);
  return [{ datatype: x.datatype, shape: [g.shape[0]!, depth, ...kernel] }];
};

const convTranspose: ShapeRule = (n) => {
  const [x, weight] = [n.input(0), n.input(1)];
  const [depth, filters, ...kernel] = weight.shape as number[];
  if (x.shape[1] !== depth)
    n.fail(`input ${describe(x.shape)} does not fit weights ${describe(weight.shape)}`);
  const w = windowOf(n, kernel);
  if (n.ints("output_shape")) n.fail("output_shape is not supported: give pads and output_padding");
  const extra = n.ints("output_padding") ?? kernel.map(() => 0);
  const spatial = x.shape.slice(2).map((size, i) => {
    if (typeof size !== "number") return n.fail(`spatial size '${size}' must be known`);
    const reach = (kernel[i]! - 1) * w.dilations[i]! + 1;
    return w.strides[i]! * (size - 1) + extra[i]! + reach - w.pads[i]! - w.pads[i + kernel.length]!;
  });
  return [{ datatype: x.datatype, shape: [x.shape[0]!, filters! * n.int("group", 1), ...spatial] }];
};

const pool: ShapeRule = (n) => {
  const x = n.input(0);
  const kernel = n.ints("kernel_shape") ?? n.fail("kernel_shape is missing");
  const spatial = slide(n, x.shape.slice(2), windowOf(n, kernel), n.int("ceil_mode", 0) === 1);
  const shape = [x.shape[0]!, x.shape[1]!, ...spatial];
  return [
    { datatype: x.datatype, shape },
    { datatype: "INT64" as const, shape },
  ].slice(0, n.outputCount);
};

const globalPool: ShapeRule = (n) => {
  const x = n.input(0);
  return [{ datatype: x.datatype, shape: [x.shape[0]!, x.shape[1]!, ...x.shape.slice(2).map(() => 1)] }];
};

/** With `output_shape` given: the inverse of a pooling whose windows do not overlap. */
const maxUnpool: ShapeRule = (n) => [{ datatype: n.input(0).datatype, shape: n.constant(2) }];

export const window: Record<string, ShapeRule> = {
  Conv: conv,
  ColumnConv: columnConv,
  ColumnConvImage: columnConvImage,
  ColumnConvKernel: columnConvKernel,
  ConvTranspose: convTranspose,
  MaxPool: pool,
  AveragePool: pool,
  GlobalAveragePool: globalPool,
  GlobalMaxPool: globalPool,
  MaxUnpool: maxUnpool,
};
