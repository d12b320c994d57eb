/**
 * Every pooling layer for generated sizes, windows, strides and paddings, in both data formats, against TensorFlow.js:
 * what is served and, in training, the gradient of Σ c·y, also behind a convolution whose axes lie in another order.
 * Both sides compute in float32 with sums of at most some dozen terms in another order: 2e-5·(1 + |v|).
 *
 * TensorFlow.js divides the gradient of an average by the whole window also where padding is not counted; averages
 * are therefore written out there as sums over counts.
 */

import { InferenceSession, Tensor } from "onnxruntime-node";
import { distinct, normals, runOnce, worstError } from "../../../test/support/graph-runner.ts";
import { tf } from "../../../test/support/witness.ts";
import { gradients } from "../../autodiff/backward.ts";
import { GraphBuilder } from "../../onnx/builder.ts";
import { RandomStream } from "../../random/stream.ts";
import { ConfigReader } from "../config-reader.ts";
import { compileInference } from "../inference-graph.ts";
import { inKerasOrder, type LayerContext, type LayerValue } from "../layer.ts";
import { buildNetwork, parseNetwork } from "../network.ts";
import { globalAveragePooling1d } from "./global-pooling.ts";

type T = import("@tensorflow/tfjs-core").Tensor;
type T4 = import("@tensorflow/tfjs-core").Tensor4D;

const TOLERANCE = 2e-5;
const CASES = 18;

const random = RandomStream.named(29, "pooling layers");
const draw = (low: number, high: number) => low + random.below(high - low + 1);

type Case = {
  className: string;
  config: Record<string, unknown>;
  rank: 1 | 2;
  /** With the batch, as the layer sees it. */
  shape: number[];
  channelsFirst: boolean;
  behindConvolution: boolean;
};

function cases(className: string): Case[] {
  const rank = className.includes("1D") ? 1 : 2;
  return Array.from({ length: CASES }, (_, i): Case => {
    const all = (low: number, high: number) => Array.from({ length: rank }, () => draw(low, high));
    const [poolSize, channelsFirst] = [all(1, 4), i % 2 === 1];
    const sizes = poolSize.map((size) => size + draw(0, 6));
    const [batch, channels] = [draw(1, 3), draw(1, 3)];
    const window = {
      pool_size: poolSize,
      strides: i % 3 === 0 ? null : all(1, 4),
      padding: i % 4 < 2 ? "same" : "valid",
    };
    return {
      className,
      config: {
        ...(className.startsWith("Global") ? { keepdims: i % 3 === 0 } : window),
        data_format: channelsFirst ? "channels_first" : "channels_last",
      },
      rank,
      shape: channelsFirst ? [batch, channels, ...sizes] : [batch, ...sizes, channels],
      channelsFirst,
      behindConvolution: i % 6 > 3,
    };
  });
}

/** A convolution that leaves every element as it is; its axes lie in another order in memory. */
const identity = ({ rank, channelsFirst, shape, config }: Case) => ({
  class_name: `Conv${rank}D`,
  config: {
    filters: channelsFirst ? shape[1] : shape.at(-1),
    kernel_size: 1,
    use_bias: false,
    data_format: config.data_format,
  },
});

const architecture = (given: Case) => ({
  class_name: "Sequential",
  config: {
    layers: [
      { class_name: "InputLayer", config: { name: "x", batch_shape: [null, ...given.shape.slice(1)] } },
      ...(given.behindConvolution ? [identity(given)] : []),
      { class_name: given.className, config: given.config },
    ],
  },
});

/** The layer's one possible weight: the unit matrix, however its axes lie. */
function unit(shape: number[]): { shape: number[]; data: Float32Array } {
  const channels = shape[0]!;
  const data = Float32Array.from({ length: channels * channels }, (_, i) =>
    i % (channels + 1) === 0 ? 1 : 0,
  );
  return { shape, data };
}

/** The layer as TensorFlow.js computes it. */
function theirs({ className, config, rank, channelsFirst }: Case, x: T): T {
  const last = channelsFirst ? tf.transpose(x, [0, ...(rank === 1 ? [2] : [2, 3]), 1]) : x;
  const back = (y: T) => (channelsFirst ? tf.transpose(y, [0, rank + 1, ...(rank === 1 ? [1] : [1, 2])]) : y);
  if (className.startsWith("Global")) {
    const axes = rank === 1 ? [1] : [1, 2];
    const reduce = className.includes("Max") ? tf.max : tf.mean;
    const keep = config.keepdims as boolean;
    return keep ? back(reduce(last, axes, true)) : reduce(last, axes, false);
  }
  const images = (rank === 1 ? tf.expandDims(last, 1) : last) as T4;
  const high = (sizes: number[]) => (rank === 1 ? [1, ...sizes] : sizes) as [number, number];
  const size = high(config.pool_size as number[]);
  const strides = high((config.strides ?? config.pool_size) as number[]);
  const padding = config.padding as "same" | "valid";
  const pooled = className.includes("Max")
    ? tf.maxPool(images, size, strides, padding)
    : average(images, size, strides, padding);
  return back(rank === 1 ? tf.squeeze(pooled, [1]) : pooled);
}

function average(x: T4, size: [number, number], strides: [number, number], padding: "same" | "valid"): T4 {
  const ones = tf.ones([...size, x.shape[3], 1]) as T4;
  // TensorFlow.js takes strides that differ for convolutions of channels apart.
  const sums = tf.depthwiseConv2d(x, ones, strides, padding);
  return tf.div(sums, tf.depthwiseConv2d(tf.onesLike(x), ones, strides, padding));
}

const CLASSES = ["MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling"].flatMap(
  (kind) => [`${kind}1D`, `${kind}2D`],
);

describe("pooling layers against TensorFlow.js", () => {
  for (const className of CLASSES)
    test.each(cases(className).map((given, i) => ({ i, given })))(
      `${className}, generated case $i`,
      async ({ given }) => {
        const { shape } = given;
        const data = className.includes("Max") ? distinct("x", shape, 0.0625) : normals("x", shape);
        const network = parseNetwork(architecture(given));
        const graph = new GraphBuilder("case");
        const x = graph.input("x", "FP32", shape);
        const weights = new Map<string, ReturnType<typeof unit>>();
        const built = buildNetwork(network, graph, [x], {
          training: true,
          weightValue(spec) {
            weights.set(spec.name, unit(spec.shape));
            return graph.input(spec.name, "FP32", spec.shape);
          },
        });
        const y = inKerasOrder(graph, built.outputs[0]!);
        const c = {
          datatype: "FP32" as const,
          shape: y.shape as number[],
          data: normals("c", y.shape as number[]),
        };
        const product = graph.op("Mul", [y, graph.initializer("c", c)]);
        const loss = graph.op("ReduceSum", [product], { keepdims: 0 });
        graph.output(gradients(graph, loss, [x])[0]!, "dx");
        graph.output(y, "y");
        const trained = await runOnce(graph, { x: { shape, data }, ...Object.fromEntries(weights) });

        const witness = tf.tensor(data, shape);
        const expected = theirs(given, witness);
        const dx = tf.grad((input) => tf.sum(tf.mul(theirs(given, input), tf.tensor(c.data, c.shape))))(
          witness,
        );
        expect(trained.y!.shape).toEqual(expected.shape);
        expect(worstError(trained.y!.data as Float32Array, expected.dataSync())).toBeLessThan(TOLERANCE);
        expect(worstError(trained.dx!.data as Float32Array, dx.dataSync())).toBeLessThan(TOLERANCE);

        const { bytes, signature } = compileInference(network, weights);
        const served = await InferenceSession.create(bytes);
        try {
          const given = await served.run({ x: new Tensor("float32", data, shape) });
          const output = given[signature.outputs[0]!.name]!;
          expect(output.dims).toEqual(expected.shape);
          expect(worstError(output.data as Float32Array, expected.dataSync())).toBeLessThan(TOLERANCE);
        } finally {
          await served.release();
        }
      },
    );
});

describe("a masked GlobalAveragePooling1D", () => {
  const [batch, steps, channels] = [3, 4, 2];
  const counts = [
    [1, 1, 0, 1],
    [0, 1, 0, 0],
    [1, 1, 1, 1],
  ];
  // Steps that do not count may hold anything.
  const values = (i: number, step: number, channel: number) =>
    counts[i]![step] ? Math.sin(i + 7 * step + 3 * channel) : Number.POSITIVE_INFINITY;

  for (const [layout, config, order] of [
    ["channels_last", {}, undefined],
    ["channels_last", {}, [2, 0, 1]],
    ["channels_first", {}, undefined],
    ["channels_first", { keepdims: true }, [1, 2, 0]],
  ] as const)
    test(`averages the steps that count, ${layout}, axes [${order ?? "as declared"}]`, async () => {
      const first = layout === "channels_first";
      const sizes = first ? [batch, channels, steps] : [batch, steps, channels];
      const places: readonly number[] = order ?? [0, 1, 2];
      const shape = places.map((axis) => sizes[axis]!);
      const data = new Float32Array(batch * steps * channels);
      const memory = (at: number) => [
        Math.floor(at / (shape[1]! * shape[2]!)),
        Math.floor(at / shape[2]!) % shape[1]!,
        at % shape[2]!,
      ];
      for (let at = 0; at < data.length; at++) {
        const [i, a, b] = [0, 1, 2].map((axis) => memory(at)[places.indexOf(axis)]!) as [
          number,
          number,
          number,
        ];
        data[at] = first ? values(i, b, a) : values(i, a, b);
      }
      const run = async (training: boolean) => {
        const graph = new GraphBuilder("case");
        const n = training ? batch : "batch";
        const fed = shape.map((size, place) => (places[place] === 0 ? n : size));
        const x = graph.input("x", "FP32", fed);
        const mask = graph.input("mask", "BOOL", [n, steps]);
        const apply = globalAveragePooling1d(
          new ConfigReader("pool", { data_format: layout, ...config }),
          () => {
            throw new Error("it has no inner layer");
          },
        );
        const call = { tensors: new Map(), options: new Map() };
        const given = apply({ graph } as LayerContext, [{ value: x, mask, ...(order && { order }) }], call);
        const y = inKerasOrder(graph, given as LayerValue);
        graph.output(y, "y");
        if (training) {
          const sum = graph.op("ReduceSum", [y], { keepdims: 0 });
          graph.output(gradients(graph, sum, [x])[0]!, "dx");
        }
        return runOnce(graph, {
          x: { shape, data },
          mask: { shape: [batch, steps], datatype: "BOOL", data: Uint8Array.from(counts.flat()) },
        });
      };
      const [{ y }, { y: again, dx }] = [await run(false), await run(true)];
      expect(again!.data).toEqual(y!.data);
      const share = data.map((_, at) => {
        const row = counts[memory(at)[places.indexOf(0)]!]!;
        return Number.isFinite(data[at]!) ? 1 / row.reduce((a, b) => a + b, 0) : 0;
      });
      expect(worstError(dx!.data as Float32Array, share)).toBeLessThan(TOLERANCE);
      const expected = counts.flatMap((row, i) =>
        [0, 1].map((channel) => {
          const kept = row.flatMap((count, step) => (count ? [values(i, step, channel)] : []));
          return kept.reduce((a, b) => a + b, 0) / kept.length;
        }),
      );
      expect(y!.shape).toEqual("keepdims" in config ? [batch, channels, 1] : [batch, channels]);
      expect(worstError(y!.data as Float32Array, expected)).toBeLessThan(TOLERANCE);
    });
});
