/**
 * The convolution layers against Keras 3 (on TensorFlow; groups, channels_first and dilated transposition on PyTorch):
 * outputs of the training and of the inference graph, and the gradients of Σ c·y with respect to the input and every
 * weight. Both sides compute in float32 with sums of at most some hundred terms in another order: 2e-5·(1 + |v|) for
 * outputs, 5e-5 for gradients, which pass more sums. And what is refused, in which words.
 */

import { readFileSync } from "node:fs";
import { worstError } from "../../../test/support/graph-runner.ts";
import { infer, inMemory, type NetworkCase, train, type Values } from "../../../test/support/network-case.ts";
import { InvalidModelError } from "../../errors.ts";
import { GraphBuilder } from "../../onnx/builder.ts";
import { inKerasOrder } from "../layer.ts";
import { buildNetwork, parseNetwork } from "../network.ts";

type Case = NetworkCase & { y: Values; dx: Values; gradients: Record<string, Values> };

const FIXTURE = new URL("../../../test/fixtures/keras/convolution.json", import.meta.url);
const CASES: Record<string, Case> = JSON.parse(readFileSync(FIXTURE, "utf8"));

describe("convolution layers as Keras declares them", () => {
  for (const [name, given] of Object.entries(CASES)) {
    test(`${name}: the inference graph answers as Keras does`, async () => {
      const { specs, y } = await infer(given);
      expect(specs.map((spec) => spec.name).sort()).toEqual(Object.keys(given.weights).sort());
      expect(y.shape).toEqual(given.y.shape);
      expect(worstError(y.data, given.y.data)).toBeLessThan(2e-5);
    });

    test(`${name}: the training graph has Keras's output and gradients`, async () => {
      const { specs, y, dx, gradients } = await train(given);
      expect(worstError(y.data, given.y.data)).toBeLessThan(2e-5);
      expect(worstError(dx.data, given.dx.data)).toBeLessThan(5e-5);
      for (const spec of specs) {
        const expected = inMemory(given.gradients[spec.name]!, spec);
        const error = worstError(gradients.get(spec.name)!.data, expected.data);
        expect({ weight: spec.name, close: error < 5e-5 }).toEqual({ weight: spec.name, close: true });
      }
    });
  }
});

/** What a network of one layer says of it: weights with shapes, and the output for a batch of two. */
function shapesOf(class_name: string, config: Record<string, unknown>, shape: number[]) {
  const given = {
    class_name: "Sequential",
    config: {
      name: "net",
      layers: [
        { class_name: "InputLayer", config: { batch_shape: [null, ...shape], name: "x" } },
        { class_name, config: { name: "layer", ...config } },
      ],
    },
  };
  const graph = new GraphBuilder("net");
  const { outputs, weights } = buildNetwork(
    parseNetwork(given),
    graph,
    [graph.input("x", "FP32", [2, ...shape])],
    {
      training: false,
      weightValue: (spec) => graph.input(spec.name, "FP32", spec.shape),
    },
  );
  return {
    weights: weights.map((spec) => `${spec.name} [${spec.shape}]`),
    output: inKerasOrder(graph, outputs[0]!).shape,
  };
}

describe("dialects of convolution layers", () => {
  const zeros = { class_name: "Zeros", config: {} };
  const glorot = { class_name: "GlorotUniform", config: { seed: null } };
  const none = {
    bias_regularizer: null,
    activity_regularizer: null,
    bias_constraint: null,
    bias_initializer: zeros,
    activation: "linear",
    use_bias: true,
    trainable: true,
    dtype: "float32",
  };

  test("Keras 2 writes Conv2D's options for layers that have none of them", () => {
    const base = { ...none, strides: [1, 1], padding: "valid", data_format: "channels_last", groups: 1 };
    const window = { ...base, kernel_size: [3, 3], dilation_rate: [1, 1] };
    const depthwise = {
      depth_multiplier: 2,
      depthwise_initializer: glorot,
      depthwise_regularizer: null,
      depthwise_constraint: null,
    };
    const kernel = { kernel_initializer: glorot, kernel_regularizer: null, kernel_constraint: null };
    const pointwise = {
      pointwise_initializer: glorot,
      pointwise_regularizer: null,
      pointwise_constraint: null,
    };
    expect(shapesOf("DepthwiseConv2D", { ...window, ...depthwise }, [5, 6, 3])).toEqual({
      weights: ["layer/kernel [3,2,3,3]", "layer/bias [6]"],
      output: [2, 3, 4, 6],
    });
    const separable = { ...window, ...kernel, ...depthwise, ...pointwise, filters: 4 };
    expect(shapesOf("SeparableConv2D", separable, [5, 6, 3])).toEqual({
      weights: ["layer/depthwise_kernel [3,2,3,3]", "layer/pointwise_kernel [4,6,1,1]", "layer/bias [4]"],
      output: [2, 3, 4, 4],
    });
    const transposed = { ...window, ...kernel, filters: 4, output_padding: null };
    expect(shapesOf("Conv2DTranspose", transposed, [5, 6, 3])).toEqual({
      weights: ["layer/kernel [3,4,3,3]", "layer/bias [4]"],
      output: [2, 7, 8, 4],
    });
  });

  test("TensorFlow.js writes camel case", () => {
    const config = {
      filters: 4,
      kernelSize: [3],
      strides: [2],
      padding: "causal",
      dataFormat: "channelsLast",
      dilationRate: [1],
      activation: "relu",
      useBias: true,
      kernelInitializer: { className: "GlorotUniform", config: { seed: null } },
      biasInitializer: { className: "Zeros", config: {} },
      kernelRegularizer: null,
      biasRegularizer: null,
      activityRegularizer: null,
      kernelConstraint: null,
      biasConstraint: null,
    };
    expect(shapesOf("Conv1D", config, [7, 2])).toEqual({
      weights: ["layer/kernel [4,2,3]", "layer/bias [4]"],
      output: [2, 4, 4],
    });
  });
});

describe("refused convolution layers", () => {
  const image = [5, 6, 4];
  const conv = { filters: 4, kernel_size: 2 };
  test.each<[string, string, Record<string, unknown>, number[], string]>([
    ["no filters", "Conv2D", { kernel_size: 2 }, image, "filters: received nothing"],
    ["no kernel", "Conv1D", { filters: 2 }, [5, 2], "kernel_size: received nothing, expected one positive"],
    [
      "two sizes of one axis",
      "Conv1D",
      { ...conv, kernel_size: [2, 2] },
      [5, 2],
      "expected one positive integer",
    ],
    [
      "a stride of nought",
      "Conv2D",
      { ...conv, strides: [1, 0] },
      image,
      "strides: received [1,0], expected one or two positive",
    ],
    [
      "causal images",
      "Conv2D",
      { ...conv, padding: "causal" },
      image,
      'padding: received "causal", expected one of valid, same',
    ],
    [
      "groups that do not divide the channels",
      "Conv2D",
      { ...conv, groups: 4 },
      [5, 6, 2],
      "divisor of the 2",
    ],
    ["groups of a transposed one", "Conv2DTranspose", { ...conv, groups: 2 }, image, "groups: received 2"],
    ["a wrong rank", "Conv2D", conv, [5, 6], "needs [batch, height, width, channels], received rank 3"],
    [
      "a wrong rank, channels first",
      "Conv1D",
      { ...conv, data_format: "channels_first" },
      image,
      "needs [batch, channels, steps], received rank 4",
    ],
    ["a kernel larger than the image", "Conv2D", { ...conv, kernel_size: 6 }, image, "does not fit"],
    ["no multiplier", "DepthwiseConv2D", { kernel_size: 2, depth_multiplier: 0 }, image, "depth_multiplier"],
    ["depthwise filters", "DepthwiseConv2D", conv, image, "layer 'layer'.filters: no such option"],
    ["a causal separable one", "SeparableConv1D", { ...conv, padding: "causal" }, [5, 2], "padding"],
    [
      "output padding as large as the stride",
      "Conv2DTranspose",
      { ...conv, strides: 2, output_padding: [1, 2] },
      image,
      "output_padding: received [1,2], expected less than the strides",
    ],
    [
      "negative output padding",
      "Conv1DTranspose",
      { ...conv, output_padding: -1 },
      [5, 2],
      "output_padding: received -1, expected one non-negative integer",
    ],
    [
      "output padding of none for an even kernel that keeps the size",
      "Conv2DTranspose",
      { ...conv, strides: 2, padding: "same", output_padding: 0 },
      image,
      "output_padding: received 0, expected more for a kernel of even size",
    ],
    ["LoRA", "Conv2D", { ...conv, lora_rank: 2 }, image, "lora_rank"],
    [
      "an unknown option",
      "SeparableConv2D",
      { ...conv, depth_multiplyer: 1 },
      image,
      "did you mean 'depth_multiplier'",
    ],
  ])("%s", (_, className, config, shape, message) => {
    const refused = () => shapesOf(className, config, shape);
    expect(refused).toThrow(InvalidModelError);
    expect(refused).toThrow(message);
  });
});
