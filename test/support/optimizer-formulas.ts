/**
 * The published formulas of the optimisers, element by element in double precision, for constant learning rates:
 * an outside reference for lib/optim. Sources as in the files there; epsilons where Keras puts them.
 */

type Options = Record<string, unknown>;
/** What one element keeps from step to step; 0 until set. */
type Kept = Record<string, number>;
/** The change of one element at step t (1, 2 …) for gradient g. */
type Rule = (c: Record<string, number>, g: number, t: number, kept: Kept, flags: Options) => number;

const get = (kept: Kept, name: string, begin = 0): number => kept[name] ?? begin;

/** share·old + (1 - share)·value. */
function mean(kept: Kept, name: string, value: number, share: number): number {
  kept[name] = share * get(kept, name) + (1 - share) * value;
  return kept[name];
}

const adam: Rule = (c, g, t, kept, { amsgrad }) => {
  const m = mean(kept, "m", g, c.beta_1!);
  const v = mean(kept, "v", g * g, c.beta_2!);
  kept.highest = Math.max(get(kept, "highest"), v);
  const alpha = (c.learning_rate! * Math.sqrt(1 - c.beta_2! ** t)) / (1 - c.beta_1! ** t);
  return (-alpha * m) / (Math.sqrt(amsgrad ? kept.highest : v) + c.epsilon!);
};

const RULES: Readonly<Record<string, Rule>> = {
  Adam: adam,
  AdamW: adam,
  SGD(c, g, _t, kept, { nesterov }) {
    kept.velocity = c.momentum! * get(kept, "velocity") - c.learning_rate! * g;
    return nesterov ? c.momentum! * kept.velocity - c.learning_rate! * g : kept.velocity;
  },
  Nadam(c, g, t, kept) {
    const mu = (step: number) => c.beta_1! * (1 - 0.5 * 0.96 ** step);
    kept.product = get(kept, "product", 1) * mu(t);
    const m = mean(kept, "m", g, c.beta_1!);
    const v = mean(kept, "v", g * g, c.beta_2!);
    const ahead = (mu(t + 1) * m) / (1 - kept.product * mu(t + 1)) + ((1 - mu(t)) * g) / (1 - kept.product);
    return (-c.learning_rate! * ahead) / (Math.sqrt(v / (1 - c.beta_2! ** t)) + c.epsilon!);
  },
  Adamax(c, g, t, kept) {
    const m = mean(kept, "m", g, c.beta_1!);
    kept.u = Math.max(c.beta_2! * get(kept, "u"), Math.abs(g));
    return (-c.learning_rate! * m) / ((1 - c.beta_1! ** t) * (kept.u + c.epsilon!));
  },
  RMSprop(c, g, _t, kept, { centered }) {
    const v = mean(kept, "v", g * g, c.rho!);
    const average = mean(kept, "average", g, c.rho!);
    const root = Math.sqrt((centered ? v - average * average : v) + c.epsilon!);
    kept.momentum = c.momentum! * get(kept, "momentum") + (c.learning_rate! * g) / root;
    return -kept.momentum;
  },
  Adagrad(c, g, _t, kept) {
    kept.sum = get(kept, "sum", c.initial_accumulator_value) + g * g;
    return (-c.learning_rate! * g) / Math.sqrt(kept.sum + c.epsilon!);
  },
  Adadelta(c, g, _t, kept) {
    const squares = mean(kept, "squares", g * g, c.rho!);
    const change = (-Math.sqrt(get(kept, "changes") + c.epsilon!) * g) / Math.sqrt(squares + c.epsilon!);
    mean(kept, "changes", change * change, c.rho!);
    return c.learning_rate! * change;
  },
  Lion(c, g, _t, kept) {
    const direction = c.beta_1! * get(kept, "m") + (1 - c.beta_1!) * g;
    mean(kept, "m", g, c.beta_2!);
    return -c.learning_rate! * Math.sign(direction);
  },
};

/** The weights after each step, without clipping and averaging. */
export function formulaSteps(
  { class_name, config }: { class_name: string; config: Options },
  initial: readonly number[],
  gradients: readonly (readonly number[])[],
): number[][] {
  const rule = RULES[class_name]!;
  const numbers = config as Record<string, number>;
  const kept = initial.map((): Kept => ({}));
  const weights = [...initial];
  return gradients.map((gradient, i) => {
    gradient.forEach((g, j) => {
      weights[j]! -= weights[j]! * (numbers.weight_decay ?? 0) * numbers.learning_rate!;
      weights[j]! += rule(numbers, g, i + 1, kept[j]!, config);
    });
    return [...weights];
  });
}
