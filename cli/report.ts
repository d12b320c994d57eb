/** How an evaluation looks on a terminal. */

import type { Job } from "../lib/protocol/jobs.ts";
import type {
  ClassificationScores,
  Evaluation,
  ModelVersion,
  OutputEvaluation,
} from "../lib/protocol/models.ts";

/** The one number that says most, by name. */
export function headline(evaluation: OutputEvaluation): string {
  return evaluation.kind === "regression"
    ? `RMSE ${evaluation.rmse.toPrecision(4)}`
    : `accuracy ${evaluation.accuracy.toFixed(4)}`;
}

/** Every output's scores, under its name where there are several. */
export function printEvaluation({ outputs, ...evaluation }: Evaluation): string {
  if (!outputs) return printScores(evaluation as OutputEvaluation);
  return Object.entries(outputs)
    .map(([name, scores]) => `  ${name}\n${printScores(scores)}`)
    .join("\n\n");
}

/** Which version a job made, and whether it is in production now or why not. */
export function printPublished({
  model,
  version,
  promoted,
  promotionReason,
}: NonNullable<Job["result"]>): string {
  const reason = promotionReason === undefined ? "" : `: ${promotionReason}`;
  return `  ${model} version ${version}, ${promoted ? "now in production" : `not promoted${reason}`}`;
}

function printScores(scores: OutputEvaluation): string {
  if (scores.kind === "classification") return printClassification(scores);
  const { examples, mae, r2 } = scores;
  const explained = r2 === null ? "" : `, R² ${r2.toFixed(4)}`;
  return `  test ${headline(scores)} (mean absolute error ${mae.toPrecision(4)}${explained}), on ${examples} examples`;
}

/**
 * Accuracy, one line per class, and the confusion matrix (rows: truth, columns: prediction), as far as they are there:
 * of very many classes they are not.
 */
function printClassification(evaluation: ClassificationScores): string {
  const { accuracy, loss, examples, perClass, macro, confusionMatrix } = evaluation;
  const nameWidth = Math.max(5, ...perClass.map(({ label }) => label.length));
  const score = (value: number) => value.toFixed(4);
  const line = (name: string, s: { precision: number; recall: number; f1: number }, support: number) =>
    `  ${name.padEnd(nameWidth)}  ${score(s.precision).padStart(9)}  ${score(s.recall)}  ${score(s.f1)}  ${String(support).padStart(7)}`;
  const cellWidth = Math.max(4, ...confusionMatrix.flat().map((count) => String(count).length)) + 1;
  const cells = (values: readonly (string | number)[]) =>
    values.map((value) => String(value).padStart(cellWidth)).join("");
  const matrixLines = () => [
    "",
    `  ${"truth \\ predicted".padEnd(nameWidth)}${cells(perClass.map(({ label }) => label.slice(0, cellWidth - 1)))}`,
    ...confusionMatrix.map(
      (row, k) => `  ${perClass[k]!.label.padEnd(Math.max(nameWidth, 17))}${cells(row)}`,
    ),
  ];
  return [
    `  test accuracy ${score(accuracy)}, loss ${score(loss)}, on ${examples} examples`,
    "",
    `  ${"class".padEnd(nameWidth)}  precision  recall      f1  support`,
    ...perClass.map((entry) => line(entry.label, entry, entry.support)),
    line("macro", macro, examples),
    ...(confusionMatrix.length === 0 ? [] : matrixLines()),
  ].join("\n");
}

/** One line of lineage: what the version was made from. */
export function printLineage({ model, version, lineage }: ModelVersion): string {
  if (!lineage) return `  ${model} version ${version}`;
  const { dataset, epochs, batchSize, seed, trainSeconds, parity } = lineage;
  return (
    `  ${model} version ${version}: ${dataset.trainExamples} examples of ${dataset.name} (${dataset.digest.slice(0, 19)}…), ` +
    `${epochs} epoch(s) of batches of ${batchSize}, seed ${seed}, ${trainSeconds.toFixed(1)} s; ` +
    `served graph within ${parity.maxAbsError.toExponential(1)} of the training graph`
  );
}
