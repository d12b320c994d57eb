/**
 * Every optimiser, by its Keras name, and the options that all of them have. To add one: a file beside this one and
 * an entry here.
 */

import { ConfigReader, kerasObject, lookUp } from "../nn/config-reader.ts";
import { adadelta } from "./adadelta.ts";
import { adagrad } from "./adagrad.ts";
import { adam } from "./adam.ts";
import { adamax } from "./adamax.ts";
import { adamw } from "./adamw.ts";
import { clippingOf } from "./clipping.ts";
import { lion } from "./lion.ts";
import { nadam } from "./nadam.ts";
import type { Optimizer, OptimizerDefinition } from "./optimizer.ts";
import { rmsprop } from "./rmsprop.ts";
import { sgd } from "./sgd.ts";
import { withWeightAverage } from "./weight-average.ts";
import { withWeightDecay } from "./weight-decay.ts";

export const OPTIMIZERS: Readonly<Record<string, OptimizerDefinition>> = {
  Adadelta: adadelta,
  Adagrad: adagrad,
  Adam: adam,
  Adamax: adamax,
  AdamW: adamw,
  Lion: lion,
  Nadam: nadam,
  RMSprop: rmsprop,
  SGD: sgd,
};

/** Options Keras writes for every optimiser that must be unset here. */
const UNSUPPORTED = ["loss_scale_factor", "gradient_accumulation_steps"];

/**
 * Reads `{class_name: "Adam", config: {learning_rate: 0.001}}` or a bare name.
 * @throws {UnknownComponentError} {InvalidModelError}
 */
export function optimizerOf(value: unknown): Optimizer {
  const object = kerasObject(value, "optimizer");
  const definition = lookUp(OPTIMIZERS, "optimizer", object.class_name);
  const config = new ConfigReader("optimizer", object.config);
  const decayed = withWeightDecay(definition(config), config);
  const optimizer = withWeightAverage(decayed, config);
  const clipping = clippingOf(config);
  config.ignore("name", "jit_compile", "is_legacy_optimizer");
  for (const option of UNSUPPORTED) config.unset(option);
  config.done();
  return clipping ? { ...optimizer, clipping } : optimizer;
}
