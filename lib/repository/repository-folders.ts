/**
 * Keeps the registry in line with model folders. A look (`sync`) takes in what was the same at the look before, so
 * that nothing half copied is read, and once it has been taken in, or refused, looks at it again only when it changes.
 *
 * A version's folder becomes an immutable version under its number; the folder's configuration becomes the model's
 * whenever its files change. A model whose folder has gone is unloaded, its versions stay; it is loaded again when the
 * folder comes back. One fault never keeps the rest from being served: it is logged once and kept as a state.
 */

import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { errorMessage, errorType } from "../errors.ts";
import type { ModelConfiguration } from "../protocol/model-configuration.ts";
import type { ModelRecord, ModelVersion } from "../protocol/models.ts";
import type { FolderReport, FolderState } from "../protocol/repository.ts";
import { assertModelName } from "../registry/model-names.ts";
import type { Publication } from "../registry/model-registry.ts";
import { checkDeclared, type Declarations } from "./declared-tensors.ts";
import {
  ENSEMBLE_FILE,
  type FolderConfiguration,
  readEnsembleFile,
  readFolderConfiguration,
} from "./folder-configuration.ts";
import { type Look, lookAt, type ModelFolder, type VersionFolder } from "./folder-scan.ts";
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

export type RepositoryFoldersOptions = {
  directories: readonly string[];
  registry: FolderRegistry;
  ensembles: EnsembleSource;
  /** Takes a model file in, off the event loop. @throws {InvalidModelError} {InvalidInputError}, or of the store */
  importModel(task: Omit<ImportTask, "store">): Promise<ImportedModel>;
  log: { info(text: string): void; warn(text: string): void; error(text: string): void };
};

/** What a folder was when it was last dealt with; without a fingerprint it will be again at the next look. */
type Handled = { fingerprint: string | undefined; fault: string | undefined };

/** `passing`: what failed may succeed by itself later. */
type Failure = { text: string; passing: boolean };

type KnownModel = {
  folder: ModelFolder;
  /** Undefined: not read yet, or in vain. */
  configuration: FolderConfiguration | undefined;
  config: Handled | undefined;
  versions: Map<number, Handled>;
  /** Versions that were published before the folder was first looked at. */
  published: readonly number[];
  /** Looks in a row that did not find it. */
  missed: number;
};

/** Looks that must miss a folder before it counts as gone. */
const MISSES = 2;

export class RepositoryFolders {
  readonly #options: RepositoryFoldersOptions;
  readonly #models = new Map<string, KnownModel>();
  #faults: FolderState[] = [];
  #told = new Set<string>();
  /** Whether a look has found nothing to take in. */
  #quiet = false;
  /** Whether this look has published something. */
  #news = false;
  #stopped = false;

  constructor(options: RepositoryFoldersOptions) {
    this.#options = options;
  }

  /** One look and what follows from it. @returns whether something waits to be looked at again */
  async sync(): Promise<boolean> {
    const { directories } = this.#options;
    const look = await lookAt(directories);
    this.#news = false;
    this.#faults = look.unreadable.map(({ directory, reason }) =>
      fault("", undefined, `${directory}: ${reason}`),
    );
    let waiting = false;
    const found = new Set<string>();
    for (const folder of look.models) {
      if (this.#stopped) return false;
      if (found.has(folder.model)) {
        const first = this.#models.get(folder.model)?.folder.path;
        this.#faults.push(
          fault(folder.model, undefined, `${folder.path} is left out: ${first} has the name too`),
        );
        continue;
      }
      found.add(folder.model);
      waiting = (await this.#follow(folder)) || waiting;
    }
    waiting = (await this.#letGo(found, look)) || waiting;
    this.#tell();
    if (this.#quiet) return waiting;
    // One look more: who serves what was published last has heard of it by then.
    this.#quiet = !waiting && !this.#news;
    return !this.#quiet;
  }

  report(): FolderReport {
    return { settled: this.#quiet || !this.#hasNew(), states: this.states() };
  }

  /** Whether there are versions that were not published before. */
  #hasNew(): boolean {
    return [...this.#models.values()].some(({ folder, config, versions, published }) =>
      folder.versions.some(({ number }) => {
        const refused = config?.fault ?? versions.get(number)?.fault;
        return refused === undefined && !published.includes(number);
      }),
    );
  }

  /** What is wrong, or not taken in yet. */
  states(): FolderState[] {
    const states = [...this.#faults];
    for (const [model, { folder, config, versions, published, missed }] of this.#models) {
      if (missed > 0) continue;
      if (folder.versions.length === 0)
        states.push(
          fault(model, undefined, `${folder.path} has no version folder, such as ${folder.path}/1`),
        );
      for (const { number } of folder.versions) {
        const reason = config?.fault ?? versions.get(number)?.fault;
        if (reason !== undefined) states.push(fault(model, number, reason));
        else if (!versions.has(number) && !published.includes(number))
          states.push({ model, version: String(number), state: "importing", reason: "" });
      }
    }
    return states;
  }

  /** Begins nothing further. */
  stop(): void {
    this.#stopped = true;
  }

  /** @returns whether it must be looked at again before something can be taken in */
  async #follow(folder: ModelFolder): Promise<boolean> {
    const before = this.#models.get(folder.model);
    const known: KnownModel = before ?? {
      folder,
      configuration: undefined,
      config: undefined,
      versions: new Map(),
      published: await this.#publishedOf(folder.model),
      missed: 0,
    };
    this.#models.set(folder.model, known);
    const earlier = known.folder;
    const wasGone = known.missed >= MISSES;
    known.folder = folder;
    known.missed = 0;
    if (!before) return true;
    if (wasGone) await this.#attempt(() => this.#options.registry.setLoaded(folder.model, true));

    let waiting = false;
    if (folder.fingerprint !== known.config?.fingerprint) {
      if (folder.fingerprint !== earlier.fingerprint) return true;
      waiting = await this.#configure(known);
    }
    if (!known.configuration) return waiting;
    for (const version of folder.versions) {
      if (this.#stopped) return false;
      if (version.fingerprint === known.versions.get(version.number)?.fingerprint) continue;
      const seen = earlier.versions.find(({ number }) => number === version.number);
      if (seen?.fingerprint !== version.fingerprint) waiting = true;
      else waiting = (await this.#take(known, known.configuration, version)) || waiting;
    }
    return waiting;
  }

  /** None where the registry cannot be asked. */
  async #publishedOf(model: string): Promise<readonly number[]> {
    const record = await this.#options.registry.get(model).catch(() => undefined);
    return record?.versions ?? [];
  }

  /** Reads the folder's configuration and, where the model is known, sets it. @returns whether to try again */
  async #configure(known: KnownModel): Promise<boolean> {
    const { model, fingerprint } = known.folder;
    const { registry, log } = this.#options;
    const before = known.config;
    const reason = await this.#attempt(async () => {
      assertModelName(model);
      const read = await readFolderConfiguration(known.folder);
      const record = await registry.get(model).catch(unlessUnknown);
      for (const warning of read.warnings) log.warn(`${known.folder.path}: ${warning}`);
      const { configuration, declared } = read;
      if (record && declared) await this.#checkPublished(record, known.folder, declared);
      if (record && configuration && !isDeepStrictEqual(record.configuration, configuration))
        await registry.configure(model, configuration);
      known.configuration = read;
      // Versions that were refused for what the configuration said may pass now; ensembles stand in it whole.
      if (before)
        for (const [number, { fault }] of known.versions)
          if (fault || read.ensemble) known.versions.delete(number);
    });
    known.config = handled(fingerprint, reason);
    if (reason) known.configuration = undefined;
    return reason?.passing === true;
  }

  /** Whether what a configuration declares is true of the versions there are. @throws {InvalidInputError} */
  async #checkPublished(
    record: ModelRecord,
    { versions }: ModelFolder,
    declared: Declarations,
  ): Promise<void> {
    for (const { number } of versions)
      if (record.versions.includes(number)) {
        const { signature } = await this.#options.registry.version(record.model, String(number));
        checkDeclared(declared, signature);
      }
  }

  /** Publishes a version's folder. @returns whether to try again */
  async #take(
    { folder: { model }, versions }: KnownModel,
    configuration: FolderConfiguration,
    version: VersionFolder,
  ): Promise<boolean> {
    const { registry, ensembles, log } = this.#options;
    const { number, path, files, fingerprint } = version;
    const reason = await this.#attempt(async () => {
      const published = await registry.version(model, String(number)).catch(unlessUnknown);
      const ensemble =
        configuration.ensemble ?? (files.includes(ENSEMBLE_FILE) ? await readEnsembleFile(path) : undefined);
      const publication =
        ensemble === undefined
          ? await this.#import(model, version, configuration, published)
          : await ensembles.prepare({ model, ensemble });
      await registry.publishAs(publication, number, configuration.configuration);
      if (published) return;
      this.#news = true;
      log.info(`Published ${model} version ${number} from ${path}`);
    });
    versions.set(number, handled(fingerprint, reason));
    return reason?.passing === true;
  }

  async #import(
    model: string,
    { path }: VersionFolder,
    { declared, modelFile }: FolderConfiguration,
    published: ModelVersion | undefined,
  ): Promise<Publication> {
    const { onnx, signature = published?.signature } = await this.#options.importModel({
      path: join(path, modelFile),
      declared,
      publishedDigest: published?.artifacts.onnx.digest,
    });
    return { model, artifacts: { onnx }, signature: signature!, labels: [] };
  }

  /** Unloads what has gone. @returns whether something may have */
  async #letGo(found: ReadonlySet<string>, { unreadable }: Look): Promise<boolean> {
    let waiting = false;
    for (const [model, known] of this.#models) {
      const hidden = unreadable.some(({ directory }) => directory === dirname(known.folder.path));
      if (found.has(model) || hidden || known.missed >= MISSES) continue;
      known.missed++;
      if (known.missed < MISSES) waiting = true;
      else {
        this.#options.log.warn(`${known.folder.path} has gone: unloading ${model}`);
        await this.#attempt(() => this.#options.registry.setLoaded(model, false));
      }
    }
    return waiting;
  }

  /** Why `work` failed, and whether that may pass by itself; undefined when it did not. */
  async #attempt(work: () => Promise<unknown>): Promise<Failure | undefined> {
    try {
      await work();
      return undefined;
    } catch (error) {
      const passing = (error as { retryable?: unknown }).retryable === true;
      return { text: errorMessage(error), passing };
    }
  }

  /** Logs what is wrong that was not before. */
  #tell(): void {
    const texts = this.states()
      .filter(({ state }) => state === "failed")
      .map(
        ({ model, version, reason }) =>
          `Cannot take in ${[model, version].filter(Boolean).join(" version ")}: ${reason}`,
      );
    for (const text of texts) if (!this.#told.has(text)) this.#options.log.error(text);
    this.#told = new Set(texts);
  }
}

function fault(model: string, number: number | undefined, reason: string): FolderState {
  return { model, version: number === undefined ? "" : String(number), state: "failed", reason };
}

function handled(fingerprint: string, failure: Failure | undefined): Handled {
  return { fingerprint: failure?.passing ? undefined : fingerprint, fault: failure?.text };
}

function unlessUnknown(error: unknown): undefined {
  if (!["MODEL_NOT_FOUND", "MODEL_VERSION_NOT_FOUND"].includes(errorType(error))) throw error;
}
