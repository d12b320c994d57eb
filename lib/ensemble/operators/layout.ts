/** Operators that move elements: type, shape, order, parts, size. */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { integers } from "../../onnx/graph.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import { DATATYPES, type Datatype } from "../../tensor/datatype.ts";
import {
  axisOf,
  constantLike,
  EXTENT,
  FLAG,
  INTEGER,
  INTEGERS,
  LAYOUT,
  NUMBER,
  type OperatorRule,
  shown,
  unfit,
} from "./rule.ts";

const CAST_TYPES = DATATYPES.filter((datatype) => datatype !== "BYTES" && datatype !== "BF16");
const MODES = ["nearest", "linear"];
const PAD_MODES = ["constant", "edge", "reflect"];
const oneOf = (words: readonly string[]) => ({
  expected: `one of ${words.join(", ")}`,
  accepts: (value: unknown) => words.includes(value as string),
});
const single = { inputs: [1, 1], outputs: 1 } as const;

const cast: OperatorRule = {
  ...single,
  options: { to: oneOf(CAST_TYPES) },
  required: ["to"],
  build(graph, [x], { to }) {
    if (x!.datatype === "BYTES") unfit("received BYTES, expected numbers");
    return [graph.op("Cast", [x!], { to: ONNX_TYPE[to as Datatype] })];
  },
};

/** 0 keeps the size at its place, -1 takes what is left. */
const reshape: OperatorRule = {
  ...single,
  options: { shape: INTEGERS },
  required: ["shape"],
  build(graph, [x], { shape }) {
    const sizes = shape as number[];
    if (sizes.some((size) => size < -1) || sizes.filter((size) => size === -1).length > 1)
      unfit(`received the shape ${shown(sizes)}, expected sizes from 1, 0 to keep one, -1 once for the rest`);
    return [graph.op("Reshape", [x!, graph.ints(sizes)])];
  },
};

/** Rows of one dimension. */
const flatten: OperatorRule = {
  ...single,
  options: {},
  required: [],
  build: (graph, [x]) => [graph.op("Flatten", [x!], { axis: 1 })],
};

const transpose: OperatorRule = {
  ...single,
  options: { order: INTEGERS },
  required: ["order"],
  build: (graph, [x], { order }) => [graph.op("Transpose", [x!], { perm: order as number[] })],
};

/** `starts` to `ends`, as numpy's. */
const slice: OperatorRule = {
  ...single,
  options: { starts: INTEGERS, ends: INTEGERS, axes: INTEGERS, steps: INTEGERS },
  required: ["starts", "ends", "axes"],
  build(graph, [x], options) {
    const { starts, ends, axes, steps = (options.axes as number[]).map(() => 1) } = options;
    const lists = [starts, ends, axes, steps] as number[][];
    if (lists.some(({ length }) => length !== lists[0]!.length))
      unfit('"starts", "ends", "axes" and "steps" are of different lengths');
    if (lists[3]!.includes(0)) unfit("received a step of 0, expected another");
    return [graph.op("Slice", [x!, ...lists.map((list) => graph.ints(list))])];
  },
};

/** Elements along an axis, by constant `indices`, or by a second tensor. */
const gather: OperatorRule = {
  options: { indices: INTEGERS, axis: INTEGER },
  required: [],
  inputs: [1, 2],
  outputs: 1,
  build(graph, [x, given], { indices, axis = -1 }) {
    if ((given === undefined) === (indices === undefined))
      unfit('expected either "indices" or a second tensor');
    const at = axisOf(x!, axis as number);
    return [graph.op("Gather", [x!, given ?? graph.ints(indices as number[])], { axis: at })];
  },
};

const concat: OperatorRule = {
  options: { axis: INTEGER },
  required: [],
  inputs: [2, 64],
  outputs: 1,
  build(graph, inputs, { axis = -1 }) {
    if (inputs.some(({ datatype }) => datatype !== inputs[0]!.datatype))
      unfit(`received ${inputs.map(({ datatype }) => datatype).join(", ")}, expected one type`);
    return [graph.op("Concat", inputs, { axis: axisOf(inputs[0]!, axis as number) })];
  },
};

/** `before` and `after`: how many elements, for each axis. */
const pad: OperatorRule = {
  ...single,
  options: { before: INTEGERS, after: INTEGERS, value: NUMBER, mode: oneOf(PAD_MODES) },
  required: ["before", "after"],
  build(graph, [x], { before, after, value = 0, mode = "constant" }) {
    const pads = [...(before as number[]), ...(after as number[])];
    if (pads.some((count) => count < 0)) unfit("received a negative count, expected from 0: slice instead");
    const filler = mode === "constant" ? [constantLike(graph, x!, [value as number], [])] : [];
    return [graph.op("Pad", [x!, graph.ints(pads), ...filler], { mode: mode as string })];
  },
};

/** The middle of an image; one row or column more is cut at the end where it is uneven. */
const crop: OperatorRule = {
  ...single,
  options: { size: EXTENT, layout: LAYOUT },
  required: ["size"],
  build(graph, [x], { size, layout = "NHWC" }) {
    const axes = imageAxes(x!, layout as string);
    const starts = axes.map((axis, i) => {
      const [have, want] = [x!.shape[axis]!, (size as number[])[i]!];
      if (typeof have !== "number")
        return unfit(
          `size ${i === 0 ? "height" : "width"} of ${shown(x!.shape)} must be known: resize before`,
        );
      if (have < want) unfit(`received ${shown(x!.shape)}, expected at least ${want} along axis ${axis}`);
      return Math.floor((have - want) / 2);
    });
    const ends = starts.map((start, i) => start + (size as number[])[i]!);
    return [graph.op("Slice", [x!, graph.ints(starts), graph.ints(ends), graph.ints(axes)])];
  },
};

/** Pixel centres at halves (ONNX's `half_pixel`); `antialias` widens the linear kernel where it shrinks. */
const resize: OperatorRule = {
  ...single,
  options: { size: EXTENT, mode: oneOf(MODES), layout: LAYOUT, antialias: FLAG },
  required: ["size"],
  build(graph, [x], { size, mode = "linear", layout = "NHWC", antialias = false }) {
    return [
      graph.op("Resize", [x!, undefined, undefined, sizes(graph, size as number[])], {
        mode: mode as string,
        axes: imageAxes(x!, layout as string),
        ...(antialias === true && { antialias: 1 }),
      }),
    ];
  },
};

function sizes(graph: GraphBuilder, size: readonly number[]): Value {
  return graph.initializer("size", integers(size));
}

/** Where height and width are. */
function imageAxes({ shape }: Value, layout: string): number[] {
  if (shape.length !== 4) unfit(`received the shape ${shown(shape)}, expected one of ${layout}`);
  return layout === "NHWC" ? [1, 2] : [2, 3];
}

export const layout = {
  cast,
  reshape,
  flatten,
  transpose,
  slice,
  gather,
  concat,
  pad,
  crop,
  resize,
} as const satisfies Record<string, OperatorRule>;
