/** Layers that draw in training: what they do with what is drawn, by their definitions, and nothing elsewhere. */

import { type Fed, normals, runOnce } from "../../../test/support/graph-runner.ts";
import { InvalidModelError } from "../../errors.ts";
import { GraphBuilder } from "../../onnx/builder.ts";
import { RandomStream } from "../../random/stream.ts";
import { inKerasOrder } from "../layer.ts";
import { buildNetwork, parseNetwork } from "../network.ts";

type Layer = [string, Record<string, unknown>];

function build(shape: number[], layers: Layer[], training = true) {
  const graph = new GraphBuilder("net");
  const network = parseNetwork({
    class_name: "Sequential",
    config: {
      name: "net",
      layers: [
        { class_name: "InputLayer", config: { batch_shape: [null, ...shape] } },
        ...layers.map(([class_name, config]) => ({ class_name, config: { name: class_name, ...config } })),
      ],
    },
  });
  const x = graph.input("x", "FP32", [2, ...shape]);
  const built = buildNetwork(network, graph, [x], {
    training,
    weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
  });
  graph.output(inKerasOrder(graph, built.outputs[0]!), "y");
  return { graph, x, ...built };
}

/** Element [n, h, w, c] of a tensor of these Keras sizes. */
const at = (sizes: number[], ...place: number[]) =>
  place.reduce((index, position, axis) => index * sizes[axis]! + position, 0);

const feed = (shape: number[], data: Fed["data"]): Fed => ({ shape, data });
const mask = (shape: number[], data: number[]): Fed => ({
  shape,
  data: Uint8Array.from(data),
  datatype: "BOOL",
});

describe("layers that draw in training", () => {
  const NAMES: Layer[] = [
    ["Dropout", { rate: 0.5 }],
    ["AlphaDropout", { rate: 0.5, seed: null, noise_shape: null }],
    ["SpatialDropout1D", { rate: 0.5, seed: null }],
    ["GaussianNoise", { stddev: 0.5, seed: 3 }],
    ["GaussianDropout", { rate: 0.5, seed: null }],
  ];
  test.each(NAMES)("%s is the identity elsewhere, and with nothing to draw", (name, config) => {
    const served = build([3, 4], [[name, config]], false);
    expect(served.outputs[0]!.value).toBe(served.x);
    const harmless = build([3, 4], [[name, "stddev" in config ? { stddev: 0 } : { rate: 0 }]]);
    expect(harmless.outputs[0]!.value).toBe(harmless.x);
    expect(harmless.randomInputs).toEqual([]);
  });

  test("GaussianNoise adds noise of its standard deviation", async () => {
    const { graph, randomInputs } = build([3], [["GaussianNoise", { stddev: 0.25 }]]);
    expect(randomInputs).toEqual([{ kind: "normal", name: "GaussianNoise/normal", shape: [2, 3] }]);
    const [x, noise] = [normals("x", [2, 3]), normals("n", [2, 3])];
    const found = await runOnce(graph, { x: feed([2, 3], x), "GaussianNoise/normal": feed([2, 3], noise) });
    x.forEach((v, i) => {
      expect(Number(found.y!.data[i])).toBeCloseTo(v + 0.25 * noise[i]!, 6);
    });
  });

  test("GaussianDropout multiplies by noise about one, of the deviation a dropout of its rate has", async () => {
    const { graph } = build([3], [["GaussianDropout", { rate: 0.2 }]]);
    const [x, noise] = [normals("x", [2, 3]), normals("n", [2, 3])];
    const found = await runOnce(graph, { x: feed([2, 3], x), "GaussianDropout/normal": feed([2, 3], noise) });
    x.forEach((v, i) => {
      expect(Number(found.y!.data[i])).toBeCloseTo(v * (1 + 0.5 * noise[i]!), 6);
    });
  });

  test("AlphaDropout keeps mean and variance of normal values, dropping to selu's lower end", async () => {
    const rate = 0.3;
    const { graph } = build([5000], [["AlphaDropout", { rate }]]);
    const x = normals("x", [2, 5000]);
    const random = RandomStream.named(1, "mask");
    const kept = Array.from({ length: 10_000 }, () => (random.uniform() < 1 - rate ? 1 : 0));
    const found = await runOnce(graph, {
      x: feed([2, 5000], x),
      "AlphaDropout/keep": mask([2, 5000], kept),
    });
    const y = Array.from(found.y!.data as Float32Array);
    // Keras: a·(x·m + α'·(1 - m)) + b, with α' = -1.7581, a = ((1 - q)(1 + q·α'²))^-½, b = -a·α'·q.
    const low = -1.7580993408473766;
    const a = ((1 - rate) * (1 + rate * low ** 2)) ** -0.5;
    x.forEach((v, i) => {
      expect(y[i]).toBeCloseTo(a * (kept[i] ? v : low) - a * low * rate, 4);
    });
    const mean = y.reduce((sum, v) => sum + v, 0) / y.length;
    const variance = y.reduce((sum, v) => sum + (v - mean) ** 2, 0) / y.length;
    expect(Math.abs(mean)).toBeLessThan(0.05);
    expect(Math.abs(variance - 1)).toBeLessThan(0.07);
  });

  test("SpatialDropout1D drops channels for all steps", async () => {
    const { graph, randomInputs } = build([3, 4], [["SpatialDropout1D", { rate: 0.2 }]]);
    expect(randomInputs).toEqual([
      { kind: "keep", rate: 0.2, name: "SpatialDropout1D/keep", shape: [2, 1, 4] },
    ]);
    const kept = [1, 0, 1, 1, 0, 1, 1, 0];
    const x = normals("x", [2, 3, 4]);
    const found = await runOnce(graph, {
      x: feed([2, 3, 4], x),
      "SpatialDropout1D/keep": mask([2, 1, 4], kept),
    });
    for (let n = 0; n < 2; n++)
      for (let t = 0; t < 3; t++)
        for (let c = 0; c < 4; c++) {
          const i = at([2, 3, 4], n, t, c);
          expect(Number(found.y!.data[i])).toBeCloseTo(kept[n * 4 + c] ? x[i]! / 0.8 : 0, 5);
        }
  });

  test.each(["channels_last", "channels_first"])("SpatialDropout2D, %s, drops whole maps", async (format) => {
    const sizes = [2, 3, 2, 3];
    const first = format === "channels_first";
    const { graph, randomInputs } = build(sizes.slice(1), [
      ["SpatialDropout2D", { rate: 0.25, data_format: format }],
    ]);
    const shape = first ? [2, 3, 1, 1] : [2, 1, 1, 3];
    expect(randomInputs[0]!.shape).toEqual(shape);
    const kept = [0, 1, 1, 1, 0, 1];
    const x = normals("x", sizes);
    const found = await runOnce(graph, { x: feed(sizes, x), "SpatialDropout2D/keep": mask(shape, kept) });
    for (let n = 0; n < 2; n++)
      for (let a = 0; a < 3; a++)
        for (let b = 0; b < 2; b++)
          for (let c = 0; c < 3; c++) {
            const i = at(sizes, n, a, b, c);
            const keeps = kept[n * 3 + (first ? a : c)];
            expect(Number(found.y!.data[i])).toBeCloseTo(keeps ? x[i]! / 0.75 : 0, 5);
          }
  });

  test("a mask lies in memory as what it is applied to", () => {
    const conv: Layer = ["Conv2D", { filters: 5, kernel_size: 2 }];
    const spatial = build([4, 3, 1], [conv, ["SpatialDropout2D", { rate: 0.1 }]]);
    // Channels before the batch in training.
    expect(spatial.randomInputs[0]!.shape).toEqual([5, 2, 1, 1]);
    const shaped = build([4, 3, 1], [conv, ["Dropout", { rate: 0.1, noise_shape: [null, 1, 2, 1] }]]);
    expect(shaped.randomInputs[0]!.shape).toEqual([1, 2, 1, 2]);
  });

  test.each<[string, number[], Layer, string]>([
    ["images for a sequence", [3, 4, 2], ["SpatialDropout1D", { rate: 0.1 }], "needs rank 3"],
    ["sequences for an image", [3, 4], ["SpatialDropout2D", { rate: 0.1 }], "needs rank 4"],
    ["a rate of one", [3], ["GaussianDropout", { rate: 1 }], "rate: received 1"],
    ["a negative deviation", [3], ["GaussianNoise", { stddev: -1 }], "stddev: received -1"],
    ["no deviation", [3], ["GaussianNoise", {}], "stddev: received nothing"],
    ["an option it lacks", [3], ["GaussianNoise", { stddev: 1, rate: 1 }], "rate: no such option"],
    ["a noise shape that does not fit", [3], ["Dropout", { rate: 0.1, noise_shape: [null, 2] }], "[2,3]"],
    ["a noise shape with a batch", [3], ["Dropout", { rate: 0.1, noise_shape: [4, 3] }], "null or 1"],
    ["a noise shape of words", [3], ["Dropout", { rate: 0.1, noise_shape: "all" }], "a list of sizes"],
  ])("refuse %s", (_, shape, given, words) => {
    expect(() => build(shape, [given])).toThrow(InvalidModelError);
    expect(() => build(shape, [given])).toThrow(words);
  });
});
