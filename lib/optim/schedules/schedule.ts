/**
 * What a learning-rate schedule is: the rate as a function of the steps completed, as Keras defines it (0 before
 * the first step), computed in double precision outside the graph and fed with every step.
 */

import type { ConfigReader } from "../../nn/config-reader.ts";

export type Schedule = (completedSteps: number) => number;

/** Reads a rate out of an option: a number, which is the same for ever, or a schedule. */
export type ReadRate = (config: ConfigReader, option: string) => Schedule;

export type ScheduleDefinition = (config: ConfigReader, rateOf: ReadRate) => Schedule;
