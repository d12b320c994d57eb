/**
 * One model's folder, from look to look: its configuration becomes the model's whenever its files change, and each
 * version's folder is published once, under its number. What was the same at two looks is dealt with, and then not
 * again before it changes, unless it failed for a reason that may pass.
 */

import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { errorMessage, errorType, UnavailableError } from "../errors.ts";
import type { ModelConfiguration } from "../protocol/model-configuration.ts";
import type { ModelRecord, ModelVersion } from "../protocol/models.ts";
import type { FolderState } from "../protocol/repository.ts";
import { assertModelName } from "../registry/model-names.ts";
import type { Publication } from "../registry/model-registry.ts";
import { checkDeclared, type Declarations } from "./declared-tensors.ts";
import {
  ENSEMBLE_FILE,
  type FolderConfiguration,
  readEnsembleFile,
  readFolderConfiguration,
} from "./folder-configuration.ts";
import { type ModelFolder, type VersionFolder, versionFolder } from "./folder-scan.ts";
import type { ImportedModel, ImportTask } from "./import-task.ts";

/** What of the registry is needed. */
export interface FolderRegistry {
  get(model: string): Promise<ModelRecord>;
  version(model: string, version: string): Promise<ModelVersion>;
  publishAs(
    publication: Publication,
    number: number,
    configuration?: ModelConfiguration,
  ): Promise<ModelVersion>;
  configure(model: string, configuration: ModelConfiguration): Promise<ModelRecord>;
  setLoaded(model: string, loaded: boolean): Promise<ModelRecord>;
}

/** Ensembles, checked and stored, ready to be published. */
export interface EnsembleSource {
  /** @throws {InvalidInputError} {InvalidModelError} */
  prepare(ensemble: { model: string; ensemble: unknown }): Promise<Publication>;
}

export type FollowOptions = {
  registry: FolderRegistry;
  ensembles: EnsembleSource;
  /** Takes a model file in, off the event loop. @throws {InvalidModelError} {InvalidInputError}, or of the store */
  importModel(task: Omit<ImportTask, "store">): Promise<ImportedModel>;
  log: { info(text: string): void; warn(text: string): void; error(text: string): void };
};

/** When to look again: soon, as something may be being copied; later, as something failed that may pass; need not. */
export type Again = "soon" | "later" | "no";

/** `published`: something has been. */
export type Followed = { again: Again; published: boolean };

/** What a folder was when it was last dealt with; without a fingerprint it will be again at the next look. */
type Handled = { fingerprint: string | undefined; fault: string | undefined };

/** `passing`: what failed may succeed by itself later. */
type Failure = { text: string; passing: boolean };

/** Looks that must miss a folder before it counts as gone. */
const MISSES = 2;

export class FollowedModel {
  readonly #options: FollowOptions;
  #folder: ModelFolder;
  /** Undefined: not read yet, or in vain. */
  #configuration: FolderConfiguration | undefined;
  #config: Handled | undefined;
  readonly #versions = new Map<number, Handled>();
  /** Versions that were published before the folder was first looked at. */
  #before: readonly number[] = [];
  /** Looks in a row that did not find it. */
  #missed = 0;
  /** Whether it was unloaded because its folder had gone. */
  #unloaded = false;

  private constructor(folder: ModelFolder, options: FollowOptions) {
    this.#folder = folder;
    this.#options = options;
  }

  /** Of a folder that is looked at for the first time. Nothing is taken in yet. */
  static async first(folder: ModelFolder, options: FollowOptions): Promise<FollowedModel> {
    const followed = new FollowedModel(folder, options);
    // Where the registry cannot be asked all is new.
    const record = await options.registry.get(folder.model).catch(() => undefined);
    followed.#before = record?.versions ?? [];
    return followed;
  }

  get path(): string {
    return this.#folder.path;
  }

  /** Whether there are versions that were not published before, and are not refused. */
  get hasNew(): boolean {
    return this.#folder.versions.some(
      ({ number }) => this.#faultOf(number) === undefined && !this.#before.includes(number),
    );
  }

  /** What is wrong, or not taken in yet. */
  states(): FolderState[] {
    const { model, path, versions } = this.#folder;
    if (this.#missed > 0) return [];
    if (versions.length === 0)
      return [fault(model, undefined, `${path} has no version folder, such as ${path}/1`)];
    return versions.flatMap(({ number }): FolderState[] => {
      const reason = this.#faultOf(number);
      if (reason !== undefined) return [fault(model, number, reason)];
      const isHere = this.#versions.has(number) || this.#before.includes(number);
      return isHere ? [] : [{ model, version: String(number), state: "importing", reason: "" }];
    });
  }

  /**
   * The folder as a further look has found it.
   * @param stopped whether to begin nothing further
   */
  async follow(folder: ModelFolder, stopped: () => boolean): Promise<Followed> {
    const earlier = this.#folder;
    this.#folder = folder;
    this.#missed = 0;
    if (this.#unloaded) this.#unloaded = (await this.#setLoaded(true)) !== undefined;
    const result: Followed = { again: this.#unloaded ? "later" : "no", published: false };
    if (folder.fingerprint !== this.#config?.fingerprint) {
      if (folder.fingerprint !== earlier.fingerprint) return { ...result, again: "soon" };
      result.again = sooner(result.again, await this.#configure());
    }
    for (const version of folder.versions) {
      if (!this.#configuration || stopped()) break;
      if (version.fingerprint === this.#versions.get(version.number)?.fingerprint) continue;
      const seen = earlier.versions.find(({ number }) => number === version.number);
      const isCalm = seen?.fingerprint === version.fingerprint;
      const taken: Followed = isCalm
        ? await this.#take(this.#configuration, version)
        : { again: "soon", published: false };
      result.again = sooner(result.again, taken.again);
      result.published ||= taken.published;
    }
    return result;
  }

  /** A look has not found the folder: what has gone is unloaded. */
  async miss(): Promise<Again> {
    if (this.#unloaded) return "no";
    if (++this.#missed < MISSES) return "soon";
    this.#options.log.warn(`${this.path} has gone: unloading ${this.#folder.model}`);
    this.#unloaded = (await this.#setLoaded(false)) === undefined;
    return this.#unloaded ? "no" : "later";
  }

  #faultOf(number: number): string | undefined {
    return this.#config?.fault ?? this.#versions.get(number)?.fault;
  }

  /** A model that was never published need not be. */
  #setLoaded(loaded: boolean): Promise<Failure | undefined> {
    const { registry } = this.#options;
    return attempt(() => registry.setLoaded(this.#folder.model, loaded).catch(unlessUnknown));
  }

  /** Reads the folder's configuration and, where the model is known, sets it. */
  async #configure(): Promise<Again> {
    const { model, path, fingerprint } = this.#folder;
    const { registry, log } = this.#options;
    const first = this.#config === undefined;
    const failure = await attempt(async () => {
      assertModelName(model);
      const read = await readFolderConfiguration(this.#folder);
      const record = await registry.get(model).catch(unlessUnknown);
      for (const warning of read.warnings) log.warn(`${path}: ${warning}`);
      const { configuration, declared } = read;
      if (record && declared) await this.#checkPublished(record, declared);
      if (record && configuration && !isDeepStrictEqual(record.configuration, configuration))
        await registry.configure(model, configuration);
      this.#configuration = read;
      // Versions that were refused for what the configuration said may pass now; ensembles stand in it whole.
      for (const [number, { fault }] of this.#versions)
        if (!first && (fault || read.ensemble)) this.#versions.delete(number);
    });
    this.#config = handled(fingerprint, failure);
    if (failure) this.#configuration = undefined;
    return failure?.passing ? "later" : "no";
  }

  /** Whether what a configuration declares is true of the versions there are. @throws {InvalidInputError} */
  async #checkPublished({ model, versions }: ModelRecord, declared: Declarations): Promise<void> {
    for (const { number } of this.#folder.versions)
      if (versions.includes(number)) {
        const { signature } = await this.#options.registry.version(model, String(number));
        checkDeclared(declared, signature);
      }
  }

  /** Publishes a version's folder. */
  async #take(configuration: FolderConfiguration, version: VersionFolder): Promise<Followed> {
    const { model } = this.#folder;
    const { registry, log } = this.#options;
    const { number, path, fingerprint } = version;
    let isNew = false;
    const failure = await attempt(async () => {
      const published = await registry.version(model, String(number)).catch(unlessUnknown);
      const publication = await this.#publicationOf(configuration, version, published);
      await registry.publishAs(publication, number, configuration.configuration);
      isNew = !published;
    });
    this.#versions.set(number, handled(fingerprint, failure));
    if (isNew) log.info(`Published ${model} version ${number} from ${path}`);
    return { again: failure?.passing ? "later" : "no", published: isNew };
  }

  async #publicationOf(
    { declared, modelFile, ensemble: scheduled }: FolderConfiguration,
    { number, path, files, fingerprint }: VersionFolder,
    published: ModelVersion | undefined,
  ): Promise<Publication> {
    const { model } = this.#folder;
    const { ensembles, importModel } = this.#options;
    const ensemble = scheduled ?? (files.includes(ENSEMBLE_FILE) ? await readEnsembleFile(path) : undefined);
    if (ensemble !== undefined) return ensembles.prepare({ model, ensemble });
    const { onnx, signature = published?.signature } = await importModel({
      path: join(path, modelFile),
      declared,
      publishedDigest: published?.artifacts.onnx.digest,
    });
    if ((await versionFolder(path, number)).fingerprint !== fingerprint)
      throw new UnavailableError(path, "it changed while it was read");
    return { model, artifacts: { onnx }, signature: signature!, labels: [] };
  }
}

export function sooner(a: Again, b: Again): Again {
  const order: readonly Again[] = ["no", "later", "soon"];
  return order[Math.max(order.indexOf(a), order.indexOf(b))]!;
}

export function fault(model: string, number: number | undefined, reason: string): FolderState {
  return { model, version: number === undefined ? "" : String(number), state: "failed", reason };
}

function handled(fingerprint: string, failure: Failure | undefined): Handled {
  return { fingerprint: failure?.passing ? undefined : fingerprint, fault: failure?.text };
}

/** Why `work` failed, and whether that may pass by itself; undefined when it did not. */
async function attempt(work: () => Promise<unknown>): Promise<Failure | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    const passing = (error as { retryable?: unknown }).retryable === true;
    return { text: errorMessage(error), passing };
  }
}

function unlessUnknown(error: unknown): undefined {
  if (!["MODEL_NOT_FOUND", "MODEL_VERSION_NOT_FOUND"].includes(errorType(error))) throw error;
}
