/**
 * Generated convolution layers (sizes, strides, dilations, groups, multipliers, paddings, both data formats) against
 * TensorFlow.js, which has its own derivations: outputs of both graphs and every gradient. What TensorFlow.js cannot do
 * is written out for it: groups channel by channel, dilated kernels with zeros between. Tolerances as in conv.test.ts.
 */

import { normals, worstError } from "../../../test/support/graph-runner.ts";
import { infer, inMemory, train, type Values } from "../../../test/support/network-case.ts";
import { tf } from "../../../test/support/witness.ts";
import { RandomStream } from "../../random/stream.ts";

type Tensor = import("@tensorflow/tfjs-core").Tensor;
type T4 = import("@tensorflow/tfjs-core").Tensor4D;
type Pair = [number, number];

type Layer = {
  className: string;
  rank: 1 | 2;
  /** One-dimensional: of height 1. */
  size: Pair;
  kernel: Pair;
  strides: Pair;
  dilations: Pair;
  padding: "valid" | "same" | "causal";
  channelsFirst: boolean;
  channels: number;
  filters: number;
  groups: number;
  multiplier: number;
};

const random = RandomStream.named(29, "convolutions");
const draw = (low: number, high: number) => low + random.below(high - low + 1);
const pick = <T>(...from: T[]): T => from[random.below(from.length)]!;
const pair = (rank: number, make: () => number): Pair => [rank === 1 ? 1 : make(), make()];

function drawLayer(kind: "Conv" | "DepthwiseConv" | "SeparableConv" | "ConvTranspose"): Layer {
  const rank = pick<1 | 2>(1, 2, 2);
  const kernel = pair(rank, () => draw(1, 4));
  const strides = pick<Pair>(
    [1, 1],
    [1, 1],
    pair(rank, () => draw(1, 3)),
  );
  const dilations = pick<Pair>(
    [1, 1],
    pair(rank, () => draw(1, 3)),
  );
  const reach = kernel.map((places, i) => dilations[i]! * (places - 1) + 1);
  const groups = kind === "Conv" ? draw(1, 3) : 1;
  return {
    className: kind === "ConvTranspose" ? `Conv${rank}DTranspose` : `${kind}${rank}D`,
    rank,
    size: reach.map((least, i) => (rank === 1 && i === 0 ? 1 : least + draw(0, 4))) as Pair,
    kernel,
    strides,
    dilations,
    padding: rank === 1 && kind === "Conv" ? pick("valid", "same", "causal") : pick("valid", "same"),
    channelsFirst: pick(true, false),
    channels: groups * draw(1, 2),
    filters: groups * draw(1, 2),
    groups,
    multiplier: draw(1, 3),
  };
}

/** Kernel [h, w, ...] with zeros between its places. */
function spread(kernel: Tensor, dilations: Pair): T4 {
  return dilations.reduce((wide, dilation, axis) => {
    if (dilation === 1 || wide.shape[axis] === 1) return wide;
    const parts = tf.unstack(wide, axis);
    const zero = tf.zerosLike(parts[0]!);
    const spaced = parts.flatMap((part, i) =>
      i === 0 ? [part] : [...new Array<Tensor>(dilation - 1).fill(zero), part],
    );
    return tf.stack(spaced, axis);
  }, kernel) as T4;
}

/** The layer by TensorFlow.js, [N, H, W, C] in and out. */
function theirs(layer: Layer, x: T4, kernels: Tensor[]): T4 {
  const { className, strides, dilations, kernel, groups, padding } = layer;
  const pad = padding === "same" ? "same" : "valid";
  const window = (weight: Tensor) =>
    spread(tf.reshape(weight, [...kernel, ...weight.shape.slice(-2)]), dilations);
  const first = window(kernels[0]!);
  if (className.endsWith("Transpose")) {
    const size = (i: 0 | 1) => {
      const [before, stride] = [x.shape[i + 1]!, strides[i]];
      return pad === "same" ? before * stride : (before - 1) * stride + Math.max(first.shape[i]!, stride);
    };
    return tf.conv2dTranspose(x, first, [x.shape[0], size(0), size(1), first.shape[2]], strides, pad) as T4;
  }
  if (!className.startsWith("Conv")) {
    const each = tf.depthwiseConv2d(x, first, strides, pad) as T4;
    if (className.startsWith("Depthwise")) return each;
    const place: Tensor = kernels[1]!;
    const [depth, filters] = place.shape.slice(-2) as Pair;
    return tf.conv2d(each, tf.reshape(place, [1, 1, depth, filters]), 1, "valid") as T4;
  }
  const before = padding === "causal" ? dilations[1] * (kernel[1] - 1) : 0;
  const none: Pair = [0, 0];
  const padded = before > 0 ? (tf.pad(x, [none, none, [before, 0], none]) as T4) : x;
  if (groups === 1) return tf.conv2d(padded, first, strides, pad) as T4;
  const images = tf.split(padded, groups, 3) as T4[];
  const weights = tf.split(first, groups, 3) as T4[];
  return tf.concat(
    images.map((part, i) => tf.conv2d(part, weights[i]!, strides, pad) as T4),
    3,
  );
}

function declared(layer: Layer): { architecture: unknown; weights: Record<string, Values>; shape: number[] } {
  const { className, rank, channels, filters, groups, multiplier } = layer;
  const cut = (sizes: Pair) => sizes.slice(2 - rank);
  const takesFilters = !className.startsWith("Depthwise");
  const depthwise = className.startsWith("Depthwise") || className.startsWith("Separable");
  const config = {
    name: "layer",
    kernel_size: cut(layer.kernel),
    strides: cut(layer.strides),
    dilation_rate: cut(layer.dilations),
    padding: layer.padding,
    data_format: layer.channelsFirst ? "channels_first" : "channels_last",
    ...(takesFilters ? { filters } : {}),
    ...(groups > 1 ? { groups } : {}),
    ...(depthwise ? { depth_multiplier: multiplier } : {}),
  };
  const sizes = layer.channelsFirst ? [channels, ...cut(layer.size)] : [...cut(layer.size), channels];
  const last = className.endsWith("Transpose")
    ? [filters, channels]
    : depthwise
      ? [channels, multiplier]
      : [channels / groups, filters];
  const shapes: Record<string, number[]> = {
    [`layer/${className.startsWith("Separable") ? "depthwise_kernel" : "kernel"}`]: [
      ...cut(layer.kernel),
      ...last,
    ],
    ...(className.startsWith("Separable")
      ? { "layer/pointwise_kernel": [...new Array(rank).fill(1), channels * multiplier, filters] }
      : {}),
    "layer/bias": [takesFilters ? filters : channels * multiplier],
  };
  return {
    architecture: {
      class_name: "Sequential",
      config: {
        name: "net",
        layers: [
          { class_name: "InputLayer", config: { batch_shape: [null, ...sizes], name: "x" } },
          { class_name: className, config },
        ],
      },
    },
    weights: Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, { shape, data: normals(name, shape) }]),
    ),
    shape: [draw(1, 3), ...sizes],
  };
}

async function compare(layer: Layer): Promise<string[]> {
  const { architecture, weights, shape } = declared(layer);
  const x = { shape, data: normals("x", shape) };
  const { rank, channelsFirst } = layer;
  const toImages = (value: Tensor): T4 => {
    const last = channelsFirst ? tf.transpose(value, rank === 1 ? [0, 2, 1] : [0, 2, 3, 1]) : value;
    return (rank === 1 ? tf.expandDims(last, 1) : last) as T4;
  };
  const fromImages = (value: T4): Tensor => {
    const last = rank === 1 ? tf.squeeze<Tensor>(value, [1]) : value;
    return channelsFirst ? tf.transpose(last, rank === 1 ? [0, 2, 1] : [0, 3, 1, 2]) : last;
  };
  const run = (input: Tensor, given: Tensor[]) =>
    fromImages(tf.add(theirs(layer, toImages(input), given.slice(0, -1)), given.at(-1)!));
  const fed = [x, ...Object.values(weights)].map((value) => tf.tensor(value.data, value.shape));
  const y = run(fed[0]!, fed.slice(1));
  const cotangent = { shape: y.shape, data: normals("c", y.shape) };
  const c = tf.tensor(cotangent.data, cotangent.shape);
  const [dx, ...found] = tf.grads((input: Tensor, ...given: Tensor[]) =>
    tf.sum(tf.mul(run(input, given), c)),
  )(fed);

  const given = { architecture, x, cotangent, weights };
  const [served, trained] = [await infer(given), await train(given)];
  const wrong: string[] = [];
  const check = (what: string, received: Values, expected: ArrayLike<number>, tolerance: number) => {
    const error = worstError(received.data, expected);
    if (!(error < tolerance)) wrong.push(`${what} of ${JSON.stringify(layer)} is off by ${error}`);
  };
  if (served.y.shape.join() !== y.shape.join()) wrong.push(`served shape [${served.y.shape}]`);
  if (trained.y.shape.join() !== y.shape.join()) wrong.push(`trained shape [${trained.y.shape}]`);
  check("served output", served.y, y.dataSync(), 2e-5);
  check("trained output", trained.y, y.dataSync(), 2e-5);
  check("dx", trained.dx, dx!.dataSync(), 5e-5);
  Object.entries(weights).forEach(([name, { shape: size }], i) => {
    const spec = trained.specs.find((other) => other.name === name)!;
    const expected = inMemory({ shape: size, data: found[i]!.dataSync() }, spec);
    check(`d ${name}`, trained.gradients.get(name)!, expected.data, 5e-5);
  });
  return wrong;
}

describe("generated convolution layers against TensorFlow.js", () => {
  test.each(["Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose"] as const)("%s", async (kind) => {
    const wrong: string[] = [];
    for (let i = 0; i < 40; i++) wrong.push(...(await compare(drawLayer(kind))));
    expect(wrong).toEqual([]);
  });
});
