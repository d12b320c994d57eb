/**
 * Gradients of convolution, pooling, softmax, cross-entropy and dense layers against TensorFlow.js, which has its
 * own derivations. Both sides compute in float32; sums of up to about a hundred terms of unit size in another order
 * differ by a few 1e-6, so 1e-5·(1 + |g|) allows rounding and nothing else.
 */

import { distinct, type Fed, normals, runOnce, worstError } from "../../test/support/graph-runner.ts";
import { tf } from "../../test/support/witness.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { gradients } from "./backward.ts";

type T4 = import("@tensorflow/tfjs-core").Tensor4D;
type T2 = import("@tensorflow/tfjs-core").Tensor2D;

const TOLERANCE = 1e-5;
const FIRST = [0, 3, 1, 2];
const LAST = [0, 2, 3, 1];

/** Gradients of Σ c·y, by input name; c is `normals("c")` in the shape of y. */
async function ours(
  inputs: Record<string, Fed>,
  build: (graph: GraphBuilder, values: Record<string, Value>) => Value,
): Promise<Record<string, Float32Array>> {
  const graph = new GraphBuilder("case");
  const values: Record<string, Value> = {};
  for (const [name, { shape }] of Object.entries(inputs)) values[name] = graph.input(name, "FP32", shape);
  const y = build(graph, values);
  const shape = y.shape as number[];
  const c = graph.initializer("c", { datatype: "FP32", shape, data: normals("c", shape) });
  const loss = graph.op("ReduceSum", [graph.op("Mul", [y, c])], { keepdims: 0 });
  const names = Object.keys(inputs);
  const found = gradients(graph, loss, Object.values(values));
  names.forEach((name, i) => {
    graph.output(found[i]!, `d_${name}`);
  });
  const results = await runOnce(graph, inputs);
  return Object.fromEntries(names.map((name) => [name, results[`d_${name}`]!.data as Float32Array]));
}

const first = (x: unknown) => tf.transpose(x as T4, FIRST);
const last = (x: unknown) => tf.transpose(x as T4, LAST);

describe("convolution against TensorFlow.js", () => {
  for (const [size, kernel, strides, dilations, padding] of [
    [[6, 7], [3, 3], [1, 1], [1, 1], "valid"],
    [[7, 8], [3, 2], [2, 3], [1, 1], "valid"],
    [[8, 7], [3, 3], [1, 1], [2, 2], "valid"],
    [[6, 5], [1, 1], [2, 2], [1, 1], "valid"],
    [[6, 7], [3, 3], [1, 1], [1, 1], "same"],
    [[7, 8], [4, 2], [2, 3], [1, 1], "same"],
    [[5, 5], [5, 5], [1, 1], [1, 1], "valid"],
  ] as const)
    for (const depth of [1, 3])
      test(`has its gradients for [${size}]x${depth} kernel [${kernel}] strides [${strides}] dilations [${dilations}] ${padding}`, async () => {
        const [batch, filters] = [2, 4];
        const x = normals("x", [batch, depth, ...size]);
        const w = normals("w", [filters, depth, ...kernel]);
        const total = size.map((n, i) =>
          padding === "valid"
            ? 0
            : Math.max((Math.ceil(n / strides[i]!) - 1) * strides[i]! + kernel[i]! - n, 0),
        );
        const pads = [...total.map((t) => Math.floor(t / 2)), ...total.map((t) => t - Math.floor(t / 2))];
        const received = await ours(
          {
            x: { shape: [batch, depth, ...size], data: x },
            w: { shape: [filters, depth, ...kernel], data: w },
            b: { shape: [filters], data: normals("b", [filters]) },
          },
          (g, v) =>
            g.op("Conv", [v.x, v.w, v.b], {
              kernel_shape: [...kernel],
              strides: [...strides],
              dilations: [...dilations],
              pads,
            }),
        );
        const tx = tf.tensor4d(x, [batch, depth, ...size]);
        const tw = tf.tensor4d(w, [filters, depth, ...kernel]);
        // TensorFlow.js differentiates dilated kernels only when they are written out with zeros between.
        const spread = (k: T4) => {
          let wide = k;
          for (const [axis, dilation] of [
            [2, dilations[0]],
            [3, dilations[1]],
          ] as const) {
            if (dilation === 1) continue;
            const parts = tf.unstack(wide, axis);
            const zero = tf.zerosLike(parts[0]!);
            const spaced = parts.flatMap((part, i) =>
              i === 0 ? [part] : [...new Array(dilation - 1).fill(zero), part],
            );
            wide = tf.stack(spaced, axis) as T4;
          }
          return wide;
        };
        const [dx, dw, db] = tf.grads((a, k, bias) => {
          const y = tf.conv2d(last(a), tf.transpose(spread(k as T4), [2, 3, 1, 0]), [...strides], padding);
          const yFirst = first(tf.add(y, bias));
          return tf.sum(tf.mul(yFirst, tf.tensor(normals("c", yFirst.shape), yFirst.shape)));
        })([tx, tw, tf.tensor1d(normals("b", [filters]))]);
        expect(worstError(received.x!, dx!.dataSync())).toBeLessThan(TOLERANCE);
        expect(worstError(received.w!, dw!.dataSync())).toBeLessThan(TOLERANCE);
        expect(worstError(received.b!, db!.dataSync())).toBeLessThan(TOLERANCE);
      });
});

describe("max-pooling against TensorFlow.js", () => {
  const windows = [
    [[6, 6], [2, 2], [2, 2], "valid"],
    [[7, 5], [2, 2], [2, 2], "valid"],
    [[4, 34], [2, 2], [2, 2], "valid"],
    [[3, 35], [2, 2], [2, 2], "valid"],
    [[6, 7], [3, 3], [1, 1], "valid"],
    [[7, 7], [3, 2], [2, 1], "valid"],
    [[7, 6], [3, 3], [2, 2], "same"],
    [[5, 5], [2, 2], [1, 1], "same"],
    [[5, 6], [2, 2], [2, 2], "same"],
    [[7, 8], [2, 3], [3, 3], "valid"],
  ] as const;

  async function compare(data: Float32Array, window: (typeof windows)[number]) {
    const [size, kernel, strides, padding] = window;
    const shape = [2, 3, ...size] as [number, number, number, number];
    const total = size.map((n, i) =>
      padding === "valid" ? 0 : Math.max((Math.ceil(n / strides[i]!) - 1) * strides[i]! + kernel[i]! - n, 0),
    );
    const pads = [...total.map((t) => Math.floor(t / 2)), ...total.map((t) => t - Math.floor(t / 2))];
    const received = await ours({ x: { shape, data } }, (g, v) =>
      g.op("MaxPool", [v.x], { kernel_shape: [...kernel], strides: [...strides], pads }),
    );
    const dx = tf.grad((a) => {
      const y = first(tf.maxPool(last(a) as T4, [...kernel], [...strides], padding));
      return tf.sum(tf.mul(y, tf.tensor(normals("c", y.shape), y.shape)));
    })(tf.tensor4d(data, shape));
    expect(worstError(received.x!, dx.dataSync())).toBeLessThan(TOLERANCE);
  }

  for (const window of windows) {
    const [size, kernel, strides, padding] = window;
    const title = `[${size}] windows [${kernel}] strides [${strides}] ${padding}`;
    test(`routes gradients to the same winners for ${title}`, () =>
      compare(distinct("x", [2, 3, ...size], 0.125), window));
    test(`gives ties to the same, first winner for ${title}`, () =>
      // Whole numbers from 0 to 2: nearly every window has several largest elements.
      compare(
        normals("x", [2, 3, ...size]).map((v) => Math.min(2, Math.floor(Math.abs(v) * 2))),
        window,
      ));
  }

  test("gives a window of equal elements to its first, once", async () => {
    const received = await ours({ x: { shape: [1, 1, 4, 4], data: new Float32Array(16).fill(-3) } }, (g, v) =>
      g.op("MaxPool", [v.x], { kernel_shape: [2, 2], strides: [2, 2] }),
    );
    const c = normals("c", [1, 1, 2, 2]);
    const expected = new Float32Array(16);
    [0, 2, 8, 10].forEach((place, i) => {
      expected[place] = c[i]!;
    });
    // Added to 0: a negative gradient times 0 is -0.
    expect(received.x!.map((value) => value + 0)).toEqual(expected);
  });
});

describe("dense, softmax and cross-entropy against TensorFlow.js", () => {
  test("a dense layer has its gradients", async () => {
    const shapes = { x: [5, 7], w: [7, 4], b: [4] };
    const inputs = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, { shape, data: normals(name, shape) }]),
    );
    const received = await ours(inputs, (g, v) => g.op("Tanh", [g.op("Gemm", [v.x, v.w, v.b])]));
    const c = tf.tensor(normals("c", [5, 4]), [5, 4]);
    const expected = tf.grads((x, w, b) =>
      tf.sum(tf.mul(tf.tanh(tf.add(tf.matMul(x as T2, w as T2), b)), c)),
    )(Object.values(inputs).map(({ shape, data }) => tf.tensor(data, shape)));
    Object.keys(shapes).forEach((name, i) => {
      expect(worstError(received[name]!, expected[i]!.dataSync())).toBeLessThan(TOLERANCE);
    });
  });

  test("softmax and log-softmax have its gradients", async () => {
    const [shape, data] = [[4, 6], normals("x", [4, 6]).map((v) => 3 * v)];
    const c = tf.tensor(normals("c", shape), shape);
    for (const [op, theirs] of [
      ["Softmax", tf.softmax],
      ["LogSoftmax", tf.logSoftmax],
    ] as const) {
      const received = await ours({ x: { shape, data } }, (g, v) => g.op(op, [v.x], { axis: -1 }));
      const expected = tf.grad((x) => tf.sum(tf.mul(theirs(x), c)))(tf.tensor(data, shape));
      expect(worstError(received.x!, expected.dataSync())).toBeLessThan(TOLERANCE);
    }
  });

  test("cross-entropy of scores has its loss gradient, also for scores far apart", async () => {
    const labels = [2, 0, 1, 2];
    for (const scale of [1, 30, 1000]) {
      const data = normals("x", [4, 3]).map((v) => scale * v);
      const graph = new GraphBuilder("case");
      const x = graph.input("x", "FP32", [4, 3]);
      const y = graph.initializer("y", {
        datatype: "INT64",
        shape: [4],
        data: BigInt64Array.from(labels, BigInt),
      });
      const loss = graph.op("SoftmaxCrossEntropyLoss", [x, y], { reduction: "mean" });
      graph.output(gradients(graph, loss, [x])[0]!, "dx");
      graph.output(loss, "loss");
      const received = await runOnce(graph, { x: { shape: [4, 3], data } });
      const oneHot = tf.cast(tf.oneHot(labels, 3), "float32");
      const { value, grad } = tf.valueAndGrad((s) =>
        tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(s as T2), oneHot), -1))),
      )(tf.tensor2d(data, [4, 3]));
      expect(worstError(received.loss!.data as Float32Array, value.dataSync())).toBeLessThan(TOLERANCE);
      expect(worstError(received.dx!.data as Float32Array, grad.dataSync())).toBeLessThan(TOLERANCE);
    }
  });
});
