/** Gradients of element-wise arithmetic and of moving data about. */

import type { GradientRule } from "../gradient-rule.ts";

const add: GradientRule = (c) =>
  c.view.inputs.map((x, i) => (c.wants(i) ? c.unbroadcast(c.gradient(), x) : undefined));

const sub: GradientRule = (c) => [
  c.wants(0) ? c.unbroadcast(c.gradient(), c.input(0)) : undefined,
  c.wants(1) ? c.unbroadcast(c.op("Neg", [c.gradient()]), c.input(1)) : undefined,
];

const mul: GradientRule = (c) => [
  c.wants(0) ? c.unbroadcast(c.mul(c.gradient(), c.input(1)), c.input(0)) : undefined,
  c.wants(1) ? c.unbroadcast(c.mul(c.gradient(), c.input(0)), c.input(1)) : undefined,
];

/** y = a/b: da = g/b, db = -g·y/b. */
const div: GradientRule = (c) => {
  const scaled = c.div(c.gradient(), c.input(1));
  return [
    c.wants(0) ? c.unbroadcast(scaled, c.input(0)) : undefined,
    c.wants(1) ? c.unbroadcast(c.op("Neg", [c.mul(scaled, c.output())]), c.input(1)) : undefined,
  ];
};

/** Power with an exponent that is not trained: g·p·x^(p-1). */
const pow: GradientRule = (c) => {
  const [base, exponent] = [c.input(0), c.input(1)];
  if (c.wants(1)) return c.view.fail("the exponent cannot be trained");
  const less = c.sub(exponent, c.scalar(1));
  return [c.unbroadcast(c.mul(c.gradient(), c.mul(exponent, c.op("Pow", [base, less]))), base)];
};

const identity: GradientRule = (c) => [c.gradient()];
const neg: GradientRule = (c) => [c.op("Neg", [c.gradient()])];
const exp: GradientRule = (c) => [c.mul(c.gradient(), c.output())];
const log: GradientRule = (c) => [c.div(c.gradient(), c.input(0))];
const abs: GradientRule = (c) => [c.mul(c.gradient(), c.op("Sign", [c.input(0)]))];
/** d√x = g/(2√x). */
const sqrt: GradientRule = (c) => [c.div(c.mul(c.gradient(), c.scalar(0.5)), c.output())];
/** d(1/x) = -g/x². */
const reciprocal: GradientRule = (c) => [c.op("Neg", [c.mul(c.gradient(), c.mul(c.output(), c.output()))])];

/** To the larger, or smaller, of two; equal values: the first. */
const extreme =
  (firstWins: "GreaterOrEqual" | "LessOrEqual"): GradientRule =>
  (c) => {
    if (c.view.inputs.length !== 2) return c.view.fail("only the extreme of two is differentiated");
    const [a, b] = [c.input(0), c.input(1)];
    const toA = c.where(c.op(firstWins, [a, b]), c.gradient());
    return [
      c.wants(0) ? c.unbroadcast(toA, a) : undefined,
      c.wants(1) ? c.unbroadcast(c.sub(c.gradient(), toA), b) : undefined,
    ];
  };

const where: GradientRule = (c) => {
  const [condition, a, b] = [c.input(0), c.input(1), c.input(2)];
  const zero = c.scalar(0);
  return [
    undefined,
    c.wants(1) ? c.unbroadcast(c.op("Where", [condition, c.gradient(), zero]), a) : undefined,
    c.wants(2) ? c.unbroadcast(c.op("Where", [condition, zero, c.gradient()]), b) : undefined,
  ];
};

export const arithmetic: Record<string, GradientRule> = {
  Add: add,
  Sum: add,
  Sub: sub,
  Mul: mul,
  Div: div,
  Pow: pow,
  Identity: identity,
  Neg: neg,
  Exp: exp,
  Log: log,
  Abs: abs,
  Sqrt: sqrt,
  Reciprocal: reciprocal,
  Max: extreme("GreaterOrEqual"),
  Min: extreme("LessOrEqual"),
  Where: where,
};
