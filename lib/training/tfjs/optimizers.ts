/**
 * TensorFlow.js's optimisers made to step as Keras's do: TensorFlow.js takes the rate of each step, with the
 * corrections of its moments in it, from Moiety's own (`Optimizer.scalars`), and its running powers of the betas are
 * kept at nought. Refused: optimisers and options that it does not have, and Adadelta, whose steps are by the gradients
 * before the present one there. To add one: an entry, and a case in the test.
 */

import type * as Core from "@tensorflow/tfjs-core";
import { InvalidModelError, UnknownComponentError } from "../../errors.ts";
import { ConfigReader, kerasObject, lookUp } from "../../nn/config-reader.ts";
import { nearest } from "../../nn/nearest.ts";
import { OPTIMIZERS } from "../../optim/table.ts";
import type { Tfjs } from "./load-tfjs.ts";

/** A list of variables that a TensorFlow.js optimiser keeps, one for each weight. */
export type SlotVariables = { originalName: string; variable: Core.Variable }[];

export type TfjsOptimizer = {
  /** Lists of the optimiser, in the order in which their values are stored, and what they begin at. */
  slots: readonly { name: string; begin: number }[];
  /** Whether the rate is in the gradients rather than in the optimiser. */
  scalesGradients: boolean;
  make(tf: Tfjs): Core.Optimizer;
};

/** Fields that TensorFlow.js keeps to itself. */
type Inside = {
  learningRate: number;
  setLearningRate?(rate: number): void;
  accBeta1?: Core.Variable;
  accBeta2?: Core.Variable;
};

const inside = (optimizer: Core.Optimizer) => optimizer as unknown as Inside;
const EPSILON = 1e-7;

type Definition = (config: ConfigReader) => TfjsOptimizer;

const zero = (...names: string[]) => names.map((name) => ({ name, begin: 0 }));
const betas = (c: ConfigReader) =>
  [c.number("beta_1", { fallback: 0.9 }), c.number("beta_2", { fallback: 0.999 })] as const;
const epsilonOf = (c: ConfigReader) => c.number("epsilon", { fallback: EPSILON });

export const TFJS_OPTIMIZERS: Readonly<Record<string, Definition>> = {
  Adagrad: (c) => {
    const begin = c.number("initial_accumulator_value", { fallback: 0.1 });
    c.unset("epsilon", EPSILON);
    const slots = [{ name: "accumulatedGrads", begin }];
    return { slots, scalesGradients: false, make: (tf) => tf.train.adagrad(1, begin) };
  },
  Adam: (c) => {
    const [[beta1, beta2], epsilon] = [betas(c), epsilonOf(c)];
    c.unset("amsgrad", false);
    const slots = zero("accumulatedFirstMoment", "accumulatedSecondMoment");
    return {
      slots,
      scalesGradients: false,
      make: (tf) => uncorrected(tf, tf.train.adam(1, beta1, beta2, epsilon)),
    };
  },
  Adamax: (c) => {
    const [[beta1, beta2], epsilon] = [betas(c), epsilonOf(c)];
    const slots = zero("accumulatedFirstMoment", "accumulatedWeightedInfNorm");
    return {
      slots,
      scalesGradients: false,
      make: (tf) => uncorrected(tf, tf.train.adamax(1, beta1, beta2, epsilon)),
    };
  },
  RMSprop: (c) => {
    const rho = c.number("rho", { fallback: 0.9 });
    const momentum = c.number("momentum", { fallback: 0 });
    const epsilon = epsilonOf(c);
    // TensorFlow.js subtracts epsilon from the variance where Keras adds it.
    c.unset("centered", false);
    const slots = zero("accumulatedMeanSquares", "accumulatedMoments");
    return { slots, scalesGradients: false, make: (tf) => tf.train.rmsprop(1, rho, momentum, epsilon) };
  },
  SGD: (c) => {
    const momentum = c.number("momentum", { fallback: 0 });
    const nesterov = c.boolean("nesterov", false);
    if (momentum === 0) return { slots: [], scalesGradients: true, make: (tf) => tf.train.sgd(1) };
    // TensorFlow.js multiplies what it has accumulated by the rate, Keras accumulates gradients times their rates.
    const make = (tf: Tfjs) => tf.train.momentum(1, momentum, nesterov);
    return { slots: zero("accumulations"), scalesGradients: true, make };
  },
};

/** Options of every optimiser that TensorFlow.js does not have; with what they are then. */
const WITHOUT: Readonly<Record<string, readonly unknown[]>> = {
  weight_decay: [0],
  clipvalue: [],
  clipnorm: [],
  global_clipnorm: [],
  use_ema: [false],
  gradient_accumulation_steps: [1],
  loss_scale_factor: [],
};

/** Reads an optimiser that optimizerOf has read already. @throws {UnknownComponentError} {InvalidModelError} */
export function tfjsOptimizerOf(value: unknown): TfjsOptimizer {
  const object = kerasObject(value, "optimizer");
  const known = Object.keys(TFJS_OPTIMIZERS);
  const plain = (name: string) => name.toLowerCase().replaceAll("_", "");
  if (!known.some((name) => plain(name) === plain(object.class_name))) {
    lookUp(OPTIMIZERS, "optimizer", object.class_name);
    throw new UnknownComponentError(
      'optimizer of the engine "tfjs" (engine "onnx" has it)',
      object.class_name,
      nearest(object.class_name, known),
      known,
    );
  }
  const config = new ConfigReader("optimizer", object.config);
  config.ignore("learning_rate", "name", "jit_compile", "is_legacy_optimizer");
  config.ignore("ema_momentum", "ema_overwrite_frequency");
  try {
    const read = lookUp(TFJS_OPTIMIZERS, "optimizer", object.class_name)(config);
    for (const [option, allowed] of Object.entries(WITHOUT)) config.unset(option, ...allowed);
    config.done();
    return read;
  } catch (error) {
    if (!(error instanceof InvalidModelError)) throw error;
    throw new InvalidModelError('optimizer of the engine "tfjs"', `${error.message}; engine "onnx" has it`);
  }
}

/** The rate, with what corrects moments that began at nought, comes with every step. */
export function setRate(optimizer: Core.Optimizer, rate: number): void {
  inside(optimizer).learningRate = rate;
}

/** The variables of a slot; empty before the first step unless they are set. */
export function slotOf(optimizer: Core.Optimizer, name: string): SlotVariables {
  return (optimizer as unknown as Record<string, SlotVariables>)[name]!;
}

function uncorrected(tf: Tfjs, optimizer: Core.Optimizer): Core.Optimizer {
  const { accBeta1, accBeta2 } = inside(optimizer);
  tf.tidy(() => {
    for (const power of [accBeta1, accBeta2]) power?.assign(tf.scalar(0));
  });
  return optimizer;
}
