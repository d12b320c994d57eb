/**
 * The models that ensembles on this node name: what they take and give, and whether they are loaded somewhere. Here
 * counts what is loaded; else the registry is asked what there is, and other nodes what they serve.
 */

import type { ModelStep } from "../protocol/ensembles.ts";
import type { PredictRequest, PredictResponse } from "../protocol/inference.ts";
import {
  type ModelRecord,
  type ModelSignature,
  type ModelVersion,
  PRODUCTION_ALIAS,
} from "../protocol/models.ts";

/** What answers a step that is a model, wherever that is loaded. */
export type PredictStep = (
  request: PredictRequest,
  options: { deadlineMs: number; signal: AbortSignal },
) => Promise<PredictResponse>;

/** Other nodes, for steps of ensembles whose models are not here. */
export interface OtherNodes {
  /** Undefined: there is none to ask. */
  predict: (...step: Parameters<PredictStep>) => ReturnType<PredictStep> | undefined;
  /** Whether one of them serves it. */
  serve(model: string, version: string | undefined): Promise<boolean>;
}

export type StepModelsOptions = {
  /** What is loaded here and answers for a version, alias or nothing. */
  loaded(model: string, version: string | undefined): ModelSignature | undefined;
  /** As the registry was last read. */
  record(model: string): ModelRecord | undefined;
  version(model: string, version: number): Promise<ModelVersion>;
  otherNodes: OtherNodes | undefined;
};

export class StepModels {
  readonly #options: StepModelsOptions;

  constructor(options: StepModelsOptions) {
    this.#options = options;
  }

  /** Undefined where no such model is known. */
  async signatureOf({ model, version }: ModelStep): Promise<ModelSignature | undefined> {
    const loaded = this.#options.loaded(model, version);
    if (loaded) return loaded;
    const record = this.#options.record(model);
    if (!record) return undefined;
    const named = version ?? PRODUCTION_ALIAS;
    const number = /^\d+$/.test(named) ? Number(named) : record.aliases[named];
    const found = number ?? (version === undefined ? record.latestVersion : undefined);
    if (found === undefined || !record.versions.includes(found)) return undefined;
    return (await this.#options.version(model, found)).signature;
  }

  /** The first of the steps whose model is loaded nowhere, in words; undefined: all are. */
  async lacking(steps: readonly ModelStep[]): Promise<string | undefined> {
    const { loaded, otherNodes } = this.#options;
    for (const { name, model, version } of steps) {
      if (loaded(model, version) || (await otherNodes?.serve(model, version))) continue;
      const what = version === undefined ? `'${model}'` : `'${model}' version '${version}'`;
      return `model ${what} of step '${name}' is not loaded on any node`;
    }
    return undefined;
  }
}

/** The versions of a model that steps name by number. */
export function pinnedVersions(steps: readonly ModelStep[], model: string): Set<number> {
  const pinned = new Set<number>();
  for (const step of steps)
    if (step.model === model && step.version !== undefined && /^\d+$/.test(step.version))
      pinned.add(Number(step.version));
  return pinned;
}
