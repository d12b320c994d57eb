/**
 * `values[i]` up to and including step `boundaries[i]`, the last value after them all (keras.io
 * PiecewiseConstantDecay). Refuses boundaries that do not rise and a count of values that is not one more.
 */

import type { ScheduleDefinition } from "./schedule.ts";

const isRate = (value: unknown): value is number =>
  typeof value === "number" && Number.isFinite(value) && value >= 0;

export const piecewiseConstantDecay: ScheduleDefinition = (config) => {
  const boundaries = config.raw("boundaries");
  if (
    !Array.isArray(boundaries) ||
    boundaries.length === 0 ||
    !boundaries.every(isRate) ||
    !rises(boundaries)
  )
    return config.refuse("boundaries", boundaries, "one or more rising numbers of steps");
  const values = config.raw("values");
  if (!Array.isArray(values) || values.length !== boundaries.length + 1 || !values.every(isRate))
    return config.refuse(
      "values",
      values,
      `${boundaries.length + 1} rates of at least 0, one more than boundaries`,
    );
  return (completed) => {
    const at = boundaries.findIndex((boundary) => completed <= boundary);
    return values.at(at)!;
  };
};

const rises = (numbers: readonly number[]): boolean =>
  numbers.every((number, i) => i === 0 || number > numbers[i - 1]!);
