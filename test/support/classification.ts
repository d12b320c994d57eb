/** Scores of a model that tells classes apart; fails for any other. */

import type { ClassificationScores, Evaluation } from "../../lib/protocol/models.ts";

export function classification(evaluation: Evaluation | undefined): ClassificationScores {
  if (evaluation?.kind !== "classification") throw new Error(`scored as ${evaluation?.kind ?? "nothing"}`);
  return evaluation;
}
