/**
 * Keeps scores small enough for the records of a job and a version, and for one message between nodes: of very many
 * classes the lists go, the confusion matrices first, and what sums them up stays.
 */

import type { Evaluation, OutputEvaluation } from "../protocol/models.ts";

/** A record holds a megabyte, of which what was asked for and the epochs take their share. */
const MAX_BYTES = 160_000;

export function withinRecord(evaluation: Evaluation): Evaluation {
  const withoutMatrix = (scores: OutputEvaluation): OutputEvaluation =>
    scores.kind === "classification" ? { ...scores, confusionMatrix: [] } : scores;
  const withoutLists = (scores: OutputEvaluation): OutputEvaluation =>
    scores.kind === "classification" ? { ...scores, confusionMatrix: [], perClass: [] } : scores;
  let kept = evaluation;
  for (const shorten of [withoutMatrix, withoutLists]) {
    if (JSON.stringify(kept).length <= MAX_BYTES) break;
    kept = mapScores(kept, shorten);
  }
  return kept;
}

function mapScores(
  { outputs, ...scores }: Evaluation,
  map: (scores: OutputEvaluation) => OutputEvaluation,
): Evaluation {
  const mapped = map(scores as OutputEvaluation);
  if (!outputs) return mapped;
  const each = Object.entries(outputs).map(([name, of]) => [name, map(of)] as const);
  return { ...mapped, outputs: Object.fromEntries(each) };
}
