/**
 * The class names that a version is published with: the data's own, and numbers for outputs it has no name for. They
 * lie in the version's record beside the request, so very many of them are refused before training, not after it.
 */

import { classNames, type TargetSpec } from "../data/examples.ts";
import { InvalidInputError } from "../errors.ts";
import type { TrainingSpec } from "../protocol/jobs.ts";
import type { InitialWeightsRecord } from "../protocol/weights.ts";
import type { Objective } from "./objective.ts";
import type { WeightPlan } from "./step-graph.ts";

/** Of the megabyte that a record holds, what scores, signature and digests leave. */
const MAX_BYTES = 800_000;

/** Of the first output; none where it does not tell classes apart. */
export function labelsOf(
  { labelNames }: TargetSpec,
  { outputShapes }: Pick<WeightPlan, "outputShapes">,
  objective: Objective,
): string[] {
  const outputs = outputShapes[0]!.at(-1)!;
  const named = outputs > 1 || objective[0]!.loss.scores === "probabilities";
  return labelNames && named ? classNames(labelNames, outputs) : [];
}

/** @throws {InvalidInputError} when the version's record would not hold the names of the target's classes */
export function assertLabelsFit(
  target: string,
  labels: readonly string[],
  recorded: { spec: TrainingSpec; initialWeights: InitialWeightsRecord | undefined },
): void {
  const room = MAX_BYTES - bytesOf(recorded);
  const bytes = bytesOf(labels);
  if (bytes > room)
    throw new InvalidInputError({
      field: `data.targets.${target}`,
      received: `${labels.length} classes whose names take ${bytes} bytes of JSON`,
      expected: `at most ${Math.max(0, room)} bytes, which a version's record has room for beside this request`,
    });
}

const bytesOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));
