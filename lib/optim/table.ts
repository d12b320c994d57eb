/** Every optimiser, by its Keras name. To add one: a file beside this one and an entry here. */

import { ConfigReader, kerasObject, lookUp } from "../nn/config-reader.ts";
import { adam } from "./adam.ts";
import type { Optimizer, OptimizerDefinition } from "./optimizer.ts";
import { sgd } from "./sgd.ts";

const OPTIMIZERS: Readonly<Record<string, OptimizerDefinition>> = { Adam: adam, SGD: sgd };

/** Options Keras writes for every optimiser that must be unset here. */
const UNSUPPORTED = [
  ["weight_decay", 0],
  ["clipnorm"],
  ["global_clipnorm"],
  ["clipvalue"],
  ["use_ema", false],
  ["loss_scale_factor"],
  ["gradient_accumulation_steps"],
] as const;

/**
 * Reads `{class_name: "Adam", config: {learning_rate: 0.001}}` or a bare name.
 * @throws {UnknownComponentError} {InvalidModelError}
 */
export function optimizerOf(value: unknown): Optimizer {
  const object = kerasObject(value, "optimizer");
  const definition = lookUp(OPTIMIZERS, "optimizer", object.class_name);
  const config = new ConfigReader("optimizer", object.config);
  const optimizer = definition(config);
  config.ignore("name", "ema_momentum", "ema_overwrite_frequency", "jit_compile", "is_legacy_optimizer");
  for (const [option, ...allowed] of UNSUPPORTED) config.unset(option, ...allowed);
  config.done();
  return optimizer;
}
