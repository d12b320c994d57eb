/**
 * Warm-up requests as someone gives them. Names, shapes and types of inputs are not known here: whether a request
 * fits a version is checked against its signature when the version is loaded (lib/serving/warmup-feeds.ts).
 */

import type { WarmupRequest } from "../protocol/model-configuration.ts";
import { integer, objectOf, own, readFields, refuse } from "./fields.ts";

const MAX_REQUESTS = 16;
const MAX_INPUTS = 64;
const MAX_RANK = 16;
/** Most values listed for one input. */
const MAX_VALUES = 1_000_000;

const FIELDS = { rows: integer(1, 4096), count: integer(1, 1000) };
const SIZE = integer(1, 2 ** 31 - 1);

/** @throws {InvalidInputError} */
export function readWarmup(value: unknown, field: string): WarmupRequest[] {
  if (!Array.isArray(value) || value.length > MAX_REQUESTS)
    refuse(field, value, `an array of at most ${MAX_REQUESTS} requests`);
  return value.map((request, i) => readRequest(request, `${field}[${i}]`));
}

function readRequest(value: unknown, field: string): WarmupRequest {
  const { inputs, ...others } = objectOf(value, field);
  for (const key of Object.keys(others)) own(FIELDS, key, field, ["inputs"]);
  const request: WarmupRequest = readFields(others, field, FIELDS);
  if (inputs === undefined) return request;
  const given = Object.entries(objectOf(inputs, `${field}.inputs`));
  if (given.length > MAX_INPUTS) refuse(`${field}.inputs`, inputs, `at most ${MAX_INPUTS} inputs`);
  const read = given.map(([name, input]) => [name, readInput(input, `${field}.inputs["${name}"]`)] as const);
  return { ...request, inputs: Object.fromEntries(read) };
}

type Input = NonNullable<WarmupRequest["inputs"]>[string];

function readInput(value: unknown, field: string): Input {
  const { shape, values } = readFields(value, field, {
    shape: {
      expected: `at most ${MAX_RANK} sizes, each from 1`,
      accepts: (shape) => Array.isArray(shape) && shape.length <= MAX_RANK && shape.every(SIZE.accepts),
    },
    values: {
      expected: `"zeros", "random", or at most ${MAX_VALUES} numbers, booleans or strings`,
      accepts: isValues,
    },
  }) as Partial<Input>;
  if (values === undefined) refuse(`${field}.values`, values, '"zeros", "random" or an array of values');
  return { ...(shape && { shape }), values };
}

function isValues(values: unknown): boolean {
  if (values === "zeros" || values === "random") return true;
  if (!Array.isArray(values) || values.length === 0 || values.length > MAX_VALUES) return false;
  const type = typeof values[0];
  if (type === "number") return values.every((value) => typeof value === "number" && Number.isFinite(value));
  return (type === "boolean" || type === "string") && values.every((value) => typeof value === type);
}
