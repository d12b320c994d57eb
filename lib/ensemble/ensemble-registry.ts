/**
 * Ensembles in the registry: versions of a model like any other, whose file is the specification as JSON. Published is
 * only what could run, as far as its models are known; they may be published after it. An ensemble may be a step of
 * another; one that would come to itself is refused.
 */

import { errorType, InvalidInputError, InvalidModelError, PayloadTooLargeError } from "../errors.ts";
import type { Ensemble, ModelStep } from "../protocol/ensembles.ts";
import { type ModelVersion, PRODUCTION_ALIAS } from "../protocol/models.ts";
import type { ModelRegistry, Publication } from "../registry/model-registry.ts";
import type { ArtifactStore } from "../store/store.ts";
import { readEnsemble } from "./read-ensemble.ts";
import { typesOf } from "./typing.ts";

export type EnsemblePublication = { model: string; ensemble: unknown; labels?: string[] };

/** Ensembles inside one another. */
export const MAX_DEPTH = 8;
/** Of a specification as JSON: it travels in one message. */
const MAX_BYTES = 512 * 1024;
/** Versions looked at to publish one. */
const MAX_VERSIONS = 1024;

export class EnsembleRegistry {
  readonly #registry: Pick<ModelRegistry, "get" | "version" | "publish">;
  readonly #artifacts: Pick<ArtifactStore, "put" | "get">;

  constructor(
    registry: Pick<ModelRegistry, "get" | "version" | "publish">,
    artifacts: Pick<ArtifactStore, "put" | "get">,
  ) {
    this.#registry = registry;
    this.#artifacts = artifacts;
  }

  /** @throws {InvalidInputError} {InvalidModelError} {PayloadTooLargeError} */
  async publish(publication: EnsemblePublication): Promise<ModelVersion> {
    return this.#registry.publish(await this.prepare(publication));
  }

  /** Checks and stores the specification; what is left is to publish it. */
  async prepare({ model, ensemble: given, labels = [] }: EnsemblePublication): Promise<Publication> {
    const ensemble = readEnsemble(given);
    const bytes = Buffer.from(JSON.stringify(ensemble));
    if (bytes.length > MAX_BYTES) throw new PayloadTooLargeError(bytes.length, MAX_BYTES, "An ensemble");
    const versions = new Map<ModelStep, ModelVersion>();
    await this.#follow(ensemble, [model], { model, seen: new Set(), versions });
    typesOf(ensemble, (step) => versions.get(step)?.signature);
    return {
      model,
      format: "ensemble",
      artifacts: { onnx: await this.#artifacts.put(bytes) },
      signature: { inputs: ensemble.inputs, outputs: ensemble.outputs },
      labels,
    };
  }

  /**
   * The specification of a version.
   * @throws {ModelNotFoundError} {ModelVersionNotFoundError} {InvalidInputError} when it is no ensemble
   */
  async read(model: string, version?: string): Promise<Ensemble> {
    const found = await this.#registry.version(model, version);
    if (found.format !== "ensemble")
      throw new InvalidInputError({
        field: "model",
        received: `'${model}', a model`,
        expected: "an ensemble",
      });
    return this.#specification(found);
  }

  async #specification({ artifacts }: ModelVersion): Promise<Ensemble> {
    return readEnsemble(JSON.parse(Buffer.from(await this.#artifacts.get(artifacts.onnx.digest)).toString()));
  }

  /** Every version the ensemble comes to, as far as it is known. @throws {InvalidModelError} */
  async #follow(
    ensemble: Ensemble,
    path: readonly string[],
    walk: { model: string; seen: Set<string>; versions?: Map<ModelStep, ModelVersion> },
  ): Promise<void> {
    const { versions, ...further } = walk;
    const where = `ensemble '${walk.model}'`;
    if (path.length > MAX_DEPTH)
      throw new InvalidModelError(where, `ensembles more than ${MAX_DEPTH} deep: ${path.join(" → ")}`);
    for (const step of ensemble.steps) {
      if (!("model" in step)) continue;
      if (step.model === walk.model && (await this.#isNewest(step)))
        throw new InvalidModelError(where, `it is a step of itself: ${[...path, step.model].join(" → ")}`);
      const version = await this.#known(step);
      if (!version) continue;
      versions?.set(step, version);
      const id = `${version.model}/${version.version}`;
      if (version.format !== "ensemble" || walk.seen.has(id)) continue;
      walk.seen.add(id);
      if (walk.seen.size > MAX_VERSIONS)
        throw new InvalidModelError(where, `more than ${MAX_VERSIONS} ensembles in it`);
      await this.#follow(await this.#specification(version), [...path, step.model], further);
    }
  }

  /** Whether the step means the version that is about to be published. */
  async #isNewest({ model, version }: ModelStep): Promise<boolean> {
    if (version !== undefined) return false;
    try {
      return !(PRODUCTION_ALIAS in (await this.#registry.get(model)).aliases);
    } catch (error) {
      if (errorType(error) === "MODEL_NOT_FOUND") return true;
      throw error;
    }
  }

  async #known({ model, version }: ModelStep): Promise<ModelVersion | undefined> {
    try {
      return await this.#registry.version(model, version);
    } catch (error) {
      if (["MODEL_NOT_FOUND", "MODEL_VERSION_NOT_FOUND"].includes(errorType(error))) return undefined;
      throw error;
    }
  }
}
