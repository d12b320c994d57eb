/**
 * The losses of a training request: one for all outputs, a list in the order of the outputs, or one by output name;
 * their weights in the total likewise; and how much each class counts.
 */

import { InvalidInputError } from "../errors.ts";
import { kerasObject } from "../nn/config-reader.ts";
import { outputsOf } from "../nn/losses/loss.ts";
import { lossOf } from "../nn/losses/table.ts";
import type { Network } from "../nn/network.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import type { LossSpec, TrainingSpec } from "../protocol/jobs.ts";
import type { Objective } from "./objective.ts";
import type { WeightPlan } from "./step-graph.ts";

type Named = Pick<TrainingSpec, "loss" | "lossWeights" | "classWeights">;

/**
 * What the network is trained for.
 * @throws {InvalidInputError} {InvalidModelError} {UnknownComponentError} naming the field
 */
export function objectiveOf(spec: Named, network: Network, { outputShapes }: WeightPlan): Objective {
  const names = network.outputs.map(({ name }) => name);
  const losses = byOutput<unknown>("loss", spec.loss, names, isOneLoss);
  const weights = byOutput<unknown>(
    "lossWeights",
    spec.lossWeights ?? 1,
    names,
    (v) => typeof v === "number",
  );
  const classWeights = readClassWeights(spec.classWeights, outputShapes);
  return names.map((name, i) => {
    const weight = weights[i];
    if (typeof weight !== "number" || !Number.isFinite(weight) || weight < 0)
      return refuse(names.length === 1 ? "lossWeights" : `lossWeights.${name}`, weight, "a number from 0");
    const loss = lossOf(losses[i]);
    assertFits(loss, outputShapes[i]!);
    return { loss, weight, ...(classWeights && { classWeights }) };
  });
}

/** Of losses as a request gives them, the one of the output called `name`, which is the first. */
export function firstLoss(losses: TrainingSpec["loss"], name: string): LossSpec {
  if (isOneLoss(losses)) return losses as LossSpec;
  return Array.isArray(losses) ? losses[0]! : (losses as Record<string, LossSpec>)[name]!;
}

/** A request's losses as they are stored: names as they are, objects with class name and options alone. */
export function readLosses(value: unknown): TrainingSpec["loss"] {
  if (isOneLoss(value)) return readLoss(value, "loss");
  if (Array.isArray(value)) return value.map((loss, i) => readLoss(loss, `loss[${i}]`));
  if (typeof value !== "object" || value === null) return readLoss(value, "loss");
  return Object.fromEntries(
    Object.entries(value).map(([name, loss]) => [name, readLoss(loss, `loss.${name}`)]),
  );
}

function readLoss(value: unknown, field: string): LossSpec {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null)
    return refuse(field, value, 'the name of a loss or {"class_name", "config"}');
  return kerasObject(value, field);
}

function isOneLoss(value: unknown): boolean {
  if (typeof value === "string") return true;
  return typeof value === "object" && value !== null && ("class_name" in value || "className" in value);
}

/** One value for all, a list, or values by name, as a list in the order of the outputs. */
function byOutput<T>(field: string, value: T, names: readonly string[], isOne: (value: T) => boolean): T[] {
  if (isOne(value)) return names.map(() => value);
  if (typeof value !== "object" || value === null)
    return refuse(field, value, "one for all outputs, a list, or one by output name");
  const outputs = names.map((name) => `'${name}'`).join(", ");
  if (Array.isArray(value)) {
    if (value.length === names.length) return value as T[];
    return refuse(field, value, `${names.length}, one for each output (${outputs})`);
  }
  const given = value as Record<string, T>;
  for (const name of Object.keys(given))
    if (!names.includes(name)) return refuse(`${field}.${name}`, given[name], `an output (${outputs})`);
  return names.map((name) =>
    Object.hasOwn(given, name) ? given[name]! : refuse(`${field}.${name}`, undefined, "one for each output"),
  );
}

function readClassWeights(
  given: TrainingSpec["classWeights"],
  outputShapes: readonly number[][],
): number[] | undefined {
  if (given === undefined) return undefined;
  if (outputShapes.length !== 1)
    return refuse("classWeights", given, `none: the network has ${outputShapes.length} outputs`);
  const classes = Math.max(outputShapes[0]!.at(-1)!, 2);
  const weights = new Array<number>(classes).fill(1);
  for (const [name, weight] of Object.entries(given)) {
    const number = Number(name);
    if (!(/^(0|[1-9]\d*)$/.test(name) && number < classes))
      return refuse(`classWeights.${name}`, weight, `a class from 0 to ${classes - 1}`);
    if (typeof weight !== "number" || !Number.isFinite(weight) || weight < 0)
      return refuse(`classWeights.${name}`, weight, "a number from 0");
    weights[number] = weight;
  }
  return weights;
}

/** Refuses a loss that could compare the output with neither classes nor values, before any data is read. */
function assertFits({ append }: Objective[number]["loss"], shape: readonly number[]): void {
  const attempt = (target: (graph: GraphBuilder) => Value) => {
    const graph = new GraphBuilder("loss");
    const output = { value: graph.input("output", "FP32", [...shape]) };
    outputsOf(output);
    append(graph, output, target(graph));
  };
  try {
    attempt((graph) => graph.input("classes", "INT64", shape.slice(0, -1)));
  } catch (refused) {
    try {
      attempt((graph) => graph.input("values", "FP32", [...shape]));
    } catch {
      throw refused;
    }
  }
}

function refuse(field: string, received: unknown, expected: string): never {
  throw new InvalidInputError({ field, received: JSON.stringify(received) ?? "nothing", expected });
}
