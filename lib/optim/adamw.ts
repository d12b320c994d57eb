/** AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101): Adam with decoupled weight decay, 0.004 unless given. */

import { adam } from "./adam.ts";
import type { OptimizerDefinition } from "./optimizer.ts";

export const adamw: OptimizerDefinition = (config) => ({ ...adam(config), defaultWeightDecay: 0.004 });
