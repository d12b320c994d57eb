/**
 * Every optimiser, by its Keras name, and the options that all of them have. To add one: a file beside this one and
 * an entry here.
 */

import { ConfigReader, kerasObject, lookUp } from "../nn/config-reader.ts";
import { withAccumulation } from "./accumulation.ts";
import { adadelta } from "./adadelta.ts";
import { adagrad } from "./adagrad.ts";
import { adam } from "./adam.ts";
import { adamax } from "./adamax.ts";
import { adamw } from "./adamw.ts";
import { withClipping } from "./clipping.ts";
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

/**
 * Reads `{class_name: "Adam", config: {learning_rate: 0.001}}` or a bare name.
 * @throws {UnknownComponentError} {InvalidModelError}
 */
export function optimizerOf(value: unknown): Optimizer {
  const object = kerasObject(value, "optimizer");
  const definition = lookUp(OPTIMIZERS, "optimizer", object.class_name);
  const config = new ConfigReader("optimizer", object.config);
  // Outermost what is done to an update as a whole, innermost the update itself.
  const decayed = withWeightDecay(definition(config), config);
  const clipped = withClipping(decayed, config);
  const optimizer = withWeightAverage(withAccumulation(clipped, config), config);
  config.ignore("name", "jit_compile", "is_legacy_optimizer");
  config.unset("loss_scale_factor");
  config.done();
  return optimizer;
}
