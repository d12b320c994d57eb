/** Whether a version may take the production alias: not if it scores worse, nor if nobody can tell. */

import type { ModelVersion } from "../protocol/models.ts";

type Scored = Pick<ModelVersion, "version" | "metrics">;

/** `promoted` says that the candidate is, or may be moved, into production. */
export function judgePromotion(
  candidate: Scored,
  incumbent: Scored | undefined,
): { promoted: boolean; reason: string } {
  if (!incumbent) return { promoted: true, reason: "no version was in production" };
  if (incumbent.version === candidate.version)
    return { promoted: true, reason: `version ${candidate.version} is in production already` };
  const kind = candidate.metrics?.kind;
  if (kind && incumbent.metrics && incumbent.metrics.kind !== kind)
    return { promoted: false, reason: `${kind} cannot be compared with ${incumbent.metrics.kind}` };
  const [ours, theirs] = [scoreOf(candidate), scoreOf(incumbent)];
  if (ours === undefined || Number.isNaN(ours))
    return { promoted: false, reason: `version ${candidate.version} has no metrics to compare` };
  if (theirs === undefined)
    return { promoted: true, reason: `version ${incumbent.version} in production has no metrics` };
  const measure = kind === "regression" ? "mean squared error" : "accuracy";
  const shown = (score: number) => (kind === "regression" ? -score : score);
  const against = `${measure} ${shown(ours)} against ${shown(theirs)} of version ${incumbent.version} in production`;
  return ours < theirs
    ? { promoted: false, reason: `it scores worse: ${against}` }
    : { promoted: true, reason: `it scores no worse: ${against}` };
}

/** The more the better. */
function scoreOf({ metrics }: Scored): number | undefined {
  return metrics?.kind === "regression" ? -metrics.loss : metrics?.accuracy;
}
