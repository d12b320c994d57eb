/**
 * A checkpoint: the trained state of a run with all that is needed to read it again, as one safetensors file.
 * Tensors: every weight under "weights/<layer>/<variable>", every optimiser slot under "slots/<slot>/<weight>".
 */

import { errorMessage, InvalidModelError } from "../errors.ts";
import { type NamedArrays, readSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import type { EpochRecord, TrainingSpec } from "../protocol/jobs.ts";
import type { TrainedState } from "./state-buffers.ts";
import type { WeightPlan } from "./step-graph.ts";
import { namedWeights, type WeightLayout } from "./weight-layout.ts";

export type CheckpointFacts = {
  spec: TrainingSpec;
  dataset: {
    name: string;
    digest: string;
    labelNames: string[];
    trainExamples: number;
    validationExamples: number;
  };
  step: number;
  history: EpochRecord[];
  trainSeconds: number;
};

export type Checkpoint = CheckpointFacts & { weights: NamedArrays; slots: NamedArrays };

const FORMAT = "moiety-checkpoint-1";

export function writeCheckpoint(
  facts: Omit<CheckpointFacts, "step">,
  plan: WeightPlan,
  state: TrainedState,
): Uint8Array {
  const tensors: NamedArrays = new Map();
  const add = (prefix: string, layout: WeightLayout, flat: Float32Array) => {
    for (const [name, array] of namedWeights(layout, flat)) tensors.set(`${prefix}/${name}`, array);
  };
  add("weights", plan.trainedLayout, state.weights);
  add("weights", plan.statisticsLayout, state.statistics);
  for (const [slot, flat] of state.slots) add(`slots/${slot}`, plan.trainedLayout, flat);
  return writeSafetensors(tensors, { format: FORMAT, facts: JSON.stringify({ ...facts, step: state.step }) });
}

/** @throws {InvalidModelError} */
export function readCheckpoint(bytes: Uint8Array): Checkpoint {
  const { tensors, metadata } = readSafetensors(bytes);
  if (metadata.format !== FORMAT || metadata.facts === undefined)
    throw new InvalidModelError("checkpoint", `format is '${metadata.format ?? ""}', expected '${FORMAT}'`);
  const facts = parseFacts(metadata.facts);
  const under = (prefix: string): NamedArrays =>
    new Map(
      [...tensors].flatMap(([name, array]) =>
        name.startsWith(prefix) ? [[name.slice(prefix.length), array]] : [],
      ),
    );
  return { ...facts, weights: under("weights/"), slots: under("slots/") };
}

function parseFacts(text: string): CheckpointFacts {
  try {
    return JSON.parse(text) as CheckpointFacts;
  } catch (error) {
    throw new InvalidModelError("checkpoint", `its facts are not JSON (${errorMessage(error)})`);
  }
}
