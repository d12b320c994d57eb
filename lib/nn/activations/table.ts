/**
 * Every activation function, by its Keras name. To add one: a definition in the file of its kind and an entry here.
 * A layer's `activation` may also be an activation layer without weights, with its options; what is not supported is
 * refused by name.
 */

import type { KerasObject } from "../../protocol/jobs.ts";
import { ConfigReader, lookUp } from "../config-reader.ts";
import { type Activation, type ActivationDefinition, operator } from "./activation.ts";
import {
  hardShrink,
  hardSigmoid,
  hardSilu,
  hardTanh,
  keras2HardSigmoid,
  leakyRelu,
  relu,
  relu6,
  softShrink,
  sparseSigmoid,
  thresholdedRelu,
} from "./rectifiers.ts";
import { logSoftmax, sigmoid, softmax, softmaxLayer } from "./scores.ts";
import {
  celu,
  elu,
  gelu,
  geluByTanh,
  logSigmoid,
  mish,
  selu,
  silu,
  sparsePlus,
  squareplus,
  tanhShrink,
} from "./smooth.ts";

export const ACTIVATIONS: Readonly<Record<string, ActivationDefinition>> = {
  linear: () => (_, x) => x,
  relu,
  relu6,
  leaky_relu: leakyRelu(0.2),
  elu,
  celu,
  selu,
  gelu,
  gelu_new: geluByTanh,
  silu,
  swish: silu,
  mish,
  sigmoid,
  log_sigmoid: logSigmoid,
  hard_sigmoid: hardSigmoid,
  keras2_hard_sigmoid: keras2HardSigmoid,
  hard_silu: hardSilu,
  hard_swish: hardSilu,
  tanh: operator("Tanh"),
  hard_tanh: hardTanh,
  tanh_shrink: tanhShrink,
  hard_shrink: hardShrink,
  soft_shrink: softShrink,
  softmax,
  log_softmax: logSoftmax,
  softplus: operator("Softplus"),
  softsign: operator("Softsign"),
  squareplus,
  sparse_plus: sparsePlus,
  sparse_sigmoid: sparseSigmoid,
  exponential: operator("Exp"),
};

/** Activations that are layers of their own, by class name; LeakyReLU's default is not the function's. */
export const ACTIVATION_LAYERS: Readonly<Record<string, ActivationDefinition>> = {
  ELU: elu,
  LeakyReLU: leakyRelu(0.3),
  ReLU: relu,
  Softmax: softmaxLayer,
  ThresholdedReLU: thresholdedRelu,
};

/** @throws {UnknownComponentError} with the nearest known activation {InvalidModelError} for an option it lacks */
export function activationOf(declared: string | KerasObject, where = "activation"): Activation {
  const object = typeof declared === "string" ? { class_name: declared, config: {} } : declared;
  const layer = Object.hasOwn(ACTIVATION_LAYERS, object.class_name);
  const config = new ConfigReader(where, object.config);
  const definition = layer
    ? ACTIVATION_LAYERS[object.class_name]!
    : lookUp(ACTIVATIONS, "activation", object.class_name);
  const activation = definition(config);
  if (layer) {
    config.ignore("name", "trainable");
    const dtype = config.raw("dtype");
    const name = typeof dtype === "object" ? (dtype as { config?: { name?: unknown } }).config?.name : dtype;
    if (name !== undefined && name !== "float32") config.refuse("dtype", name, "float32");
  }
  config.done();
  return activation;
}
