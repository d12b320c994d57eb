/**
 * The registry: models, their immutable versions, and aliases that move.
 *
 * Two kinds of record: `models/<name>` holds the aliases, `versions/<name>/<n>` one version each. Which versions
 * there are is always read from the version records, never written down twice, so a crash between two writes leaves
 * nothing to repair. Version numbers are given out by creating the record: of two publishers one gets the number,
 * the other the next.
 */

import { isDeepStrictEqual } from "node:util";
import {
  ArtifactNotFoundError,
  InvalidInputError,
  ModelNotFoundError,
  ModelVersionNotFoundError,
  RevisionConflictError,
} from "../errors.ts";
import type { ModelConfiguration } from "../protocol/model-configuration.ts";
import { type ModelRecord, type ModelVersion, PRODUCTION_ALIAS } from "../protocol/models.ts";
import type { ArtifactStore, KeyValueEntry, KeyValueStore } from "../store/store.ts";
import {
  ALIAS_NAME,
  assertAliasName,
  assertModelName,
  MODEL_NAME,
  parseVersionNumber,
} from "./model-names.ts";
import { judgePromotion } from "./promotion.ts";
import { readModelConfiguration } from "./read-configuration.ts";
import {
  assertRollout,
  readRollout,
  remember,
  rolloutRecord,
  withoutCanary,
  withoutVersion,
} from "./rollout.ts";

type Move = { alias: string; version: number };
type StoredModel = Pick<
  ModelRecord,
  "model" | "createdAt" | "aliases" | "configuration" | "rollout" | "rollbacks" | "unloaded"
>;
export type Publication = Omit<ModelVersion, "version" | "createdAt">;
export type Promotion = { promoted: boolean; reason: string; record: ModelRecord };

export type ModelRegistryOptions = {
  /** Epoch milliseconds. @default Date.now */
  now?: () => number;
  /** Told of every publication that succeeded; of one that was repeated, again. */
  onPublished?: (fact: { model: string; version: number }) => void;
  onAliasMoved?: (fact: { model: string; alias: string; version: number }) => void;
  onConfigured?: (fact: { model: string }) => void;
  onRolledOut?: (fact: { model: string }) => void;
  onRolledBack?: (fact: { model: string; version: number; reason: string }) => void;
};

/** Each lost race means that somebody else published or moved an alias: so many in a row is a bug. */
const MAX_ATTEMPTS = 1000;

export class ModelRegistry {
  readonly #records: KeyValueStore;
  readonly #artifacts: Pick<ArtifactStore, "has">;
  readonly #options: Required<ModelRegistryOptions>;

  constructor(
    records: KeyValueStore,
    artifacts: Pick<ArtifactStore, "has">,
    options: ModelRegistryOptions = {},
  ) {
    this.#records = records;
    this.#artifacts = artifacts;
    const unheard = {
      onPublished: () => {},
      onAliasMoved: () => {},
      onConfigured: () => {},
      onRolledOut: () => {},
      onRolledBack: () => {},
    };
    this.#options = { now: Date.now, ...unheard, ...options };
  }

  /** Every model that has a version, by name. */
  async list(): Promise<ModelRecord[]> {
    const names = (await this.#records.keys("models/")).map((key) => key.slice("models/".length));
    const versions = new Map<string, number[]>(names.map((name) => [name, []]));
    for (const key of await this.#records.keys("versions/")) {
      const [, model, number] = key.split("/");
      versions.get(model!)?.push(Number(number));
    }
    const published = names.filter((name) => versions.get(name)!.length > 0);
    const stored = await Promise.all(
      published.map((name) => this.#records.get<StoredModel>(`models/${name}`)),
    );
    return stored.flatMap((entry) =>
      entry ? [recordOf(entry.value, versions.get(entry.value.model)!)] : [],
    );
  }

  /** @throws {ModelNotFoundError} */
  async get(model: string): Promise<ModelRecord> {
    return (await this.#read(model)).record;
  }

  /**
   * A version by number or alias; without one, what `production` points at, else the latest.
   * @throws {ModelNotFoundError} {ModelVersionNotFoundError}
   */
  async version(model: string, versionOrAlias?: string): Promise<ModelVersion> {
    const { record } = await this.#read(model);
    const number =
      versionOrAlias === undefined
        ? (record.aliases[PRODUCTION_ALIAS] ?? record.latestVersion)
        : (parseVersionNumber(versionOrAlias) ?? aliasTarget(record, versionOrAlias));
    const version = number === undefined ? undefined : await this.#version(model, number);
    if (!version) throw versionNotFound(record, String(versionOrAlias ?? number));
    return version;
  }

  /**
   * Publishes an immutable version under the next number. A training job publishes once: publishing again for the
   * same `lineage.jobId` gives the version that is there, so that a job resumed after a crash leaves no second one.
   * @throws {InvalidInputError} {ArtifactNotFoundError}
   */
  async publish(publication: Publication): Promise<ModelVersion> {
    const published = await this.#publish(publication);
    this.#options.onPublished({ model: published.model, version: published.version });
    return published;
  }

  /**
   * Publishes an immutable version under a number given from outside. Publishing the same model file again gives the
   * version that is there, and is not told of.
   * @param configuration of a model that is new, so that its first version is not served without
   * @throws {InvalidInputError} another model file has the number; {ArtifactNotFoundError}
   */
  async publishAs(
    publication: Publication,
    number: number,
    configuration?: ModelConfiguration,
  ): Promise<ModelVersion> {
    const createdAt = await this.#prepare(
      publication,
      configuration && readModelConfiguration(configuration),
    );
    try {
      const version: ModelVersion = { ...publication, version: number, createdAt };
      await this.#records.create(`versions/${publication.model}/${number}`, version);
      this.#options.onPublished({ model: publication.model, version: number });
      return version;
    } catch (error) {
      if (!(error instanceof RevisionConflictError)) throw error;
    }
    const taken = await this.version(publication.model, String(number));
    if (taken.artifacts.onnx.digest === publication.artifacts.onnx.digest) return taken;
    throw new InvalidInputError({
      field: `version ${number} of '${publication.model}'`,
      received: `another model file (${publication.artifacts.onnx.digest})`,
      expected: `${taken.artifacts.onnx.digest}: versions never change; a new model needs a new number`,
    });
  }

  /**
   * Replaces how a model is served.
   * @throws {ModelNotFoundError} {InvalidInputError}
   */
  async configure(model: string, value: unknown): Promise<ModelRecord> {
    const configuration = readModelConfiguration(value);
    return this.#set(model, { configuration });
  }

  /** Takes a model out of service, or back in. @throws {ModelNotFoundError} */
  setLoaded(model: string, loaded: boolean): Promise<ModelRecord> {
    return this.#set(model, { unloaded: !loaded });
  }

  /** Points an alias at a version. @throws {ModelVersionNotFoundError} {InvalidInputError} */
  async setAlias(model: string, alias: string, version: number): Promise<ModelRecord> {
    assertAliasName(alias);
    const { record } = await this.#change(model, async (current) => {
      if (!current.versions.includes(version)) throw versionNotFound(current, String(version));
      return { move: { alias, version }, outcome: undefined };
    });
    return record;
  }

  /** Moves `production` to a version unless it scores worse than the one in production. */
  async promote(model: string, version: number): Promise<Promotion> {
    const { record, outcome } = await this.#change(model, async (current) => {
      const candidate = await this.#version(model, version);
      if (!candidate) throw versionNotFound(current, String(version));
      const incumbentNumber = current.aliases[PRODUCTION_ALIAS];
      const incumbent =
        incumbentNumber === undefined ? undefined : await this.#version(model, incumbentNumber);
      const verdict = judgePromotion(candidate, incumbent);
      return { move: verdict.promoted ? { alias: PRODUCTION_ALIAS, version } : undefined, outcome: verdict };
    });
    return { ...outcome, record };
  }

  /**
   * Replaces a model's canary and shadow; one that is set as it is goes on as it is.
   * @throws {ModelNotFoundError} {ModelVersionNotFoundError} {InvalidInputError}
   */
  async rollOut(model: string, value: unknown): Promise<ModelRecord> {
    const rollout = readRollout(value);
    const { record } = await this.#rewrite(model, async (current) => {
      assertRollout(current, rollout);
      const { startedAt, ...before } = current.rollout ?? { startedAt: undefined };
      if (isDeepStrictEqual(before, rollout)) return { change: undefined, outcome: undefined };
      return { change: { rollout: rolloutRecord(rollout, this.#nowText()) }, outcome: undefined };
    });
    this.#options.onRolledOut({ model });
    return record;
  }

  /**
   * Takes a canary back if it still is that version, of the rollout that was set at `startedAt` where that is given.
   * @throws {ModelNotFoundError}
   */
  async rollBack(
    model: string,
    { version, startedAt, reason }: { version: number; startedAt?: string; reason: string },
  ): Promise<{ rolledBack: boolean; record: ModelRecord }> {
    const { record, outcome } = await this.#rewrite(model, async ({ rollout, rollbacks }) => {
      const same = startedAt === undefined || rollout?.startedAt === startedAt;
      if (rollout?.canary?.version !== version || !same) return { change: undefined, outcome: false };
      const rollBack = { version, at: this.#nowText(), reason };
      return {
        change: { rollout: withoutCanary(rollout), rollbacks: remember(rollbacks, rollBack) },
        outcome: true,
      };
    });
    if (outcome) this.#options.onRolledBack({ model, version, reason });
    return { rolledBack: outcome, record };
  }

  async #publish(publication: Publication): Promise<ModelVersion> {
    const { model, lineage } = publication;
    const createdAt = await this.#prepare(publication);
    const taken = await this.#versionNumbers(model);
    if (lineage) {
      const earlier = await Promise.all(taken.map((number) => this.#version(model, number)));
      const same = earlier.find((version) => version?.lineage?.jobId === lineage.jobId);
      if (same) return same;
    }
    let number = Math.max(0, ...taken) + 1;
    for (let attempt = 1; ; attempt++, number++)
      try {
        const version: ModelVersion = { ...publication, version: number, createdAt };
        return (await this.#records.create(`versions/${model}/${number}`, version)).value;
      } catch (error) {
        if (!(error instanceof RevisionConflictError) || attempt === MAX_ATTEMPTS) throw error;
      }
  }

  /** What must be before a version: a good name, its artifacts, the model's record. Gives the time of creation. */
  async #prepare({ model, artifacts }: Publication, configuration?: ModelConfiguration): Promise<string> {
    assertModelName(model);
    for (const { digest } of [artifacts.onnx, artifacts.checkpoint].filter((ref) => ref !== undefined))
      if (!(await this.#artifacts.has(digest))) throw new ArtifactNotFoundError(digest);
    const createdAt = this.#nowText();
    await this.#ensureModel({ model, createdAt, aliases: {}, ...(configuration && { configuration }) });
    return createdAt;
  }

  async #set(model: string, change: Partial<StoredModel>): Promise<ModelRecord> {
    const { record } = await this.#rewrite(model, async () => ({ change, outcome: undefined }));
    this.#options.onConfigured({ model });
    return record;
  }

  /** Moves an alias, unless it is where it should be. */
  async #change<T>(
    model: string,
    decide: (current: ModelRecord) => Promise<{ move: Move | undefined; outcome: T }>,
  ): Promise<{ record: ModelRecord; outcome: T }> {
    let moved: Move | undefined;
    const result = await this.#rewrite(model, async (record) => {
      const { move, outcome } = await decide(record);
      moved = move && record.aliases[move.alias] !== move.version ? move : undefined;
      const change = moved && {
        aliases: { ...record.aliases, [moved.alias]: moved.version },
        ...(moved.alias === PRODUCTION_ALIAS &&
          record.rollout && { rollout: withoutVersion(record.rollout, moved.version) }),
      };
      return { change, outcome };
    });
    if (moved) this.#options.onAliasMoved({ model, ...moved });
    return result;
  }

  /** Changes a model's record by compare-and-set, deciding anew whenever somebody else came first. */
  async #rewrite<T>(
    model: string,
    decide: (current: ModelRecord) => Promise<{ change: Partial<StoredModel> | undefined; outcome: T }>,
  ): Promise<{ record: ModelRecord; outcome: T }> {
    for (let attempt = 1; ; attempt++) {
      const { record, entry } = await this.#read(model);
      const { change, outcome } = await decide(record);
      if (!change) return { record, outcome };
      try {
        await this.#records.update(entry.key, { ...entry.value, ...change }, entry.revision);
        return { record: { ...record, ...change }, outcome };
      } catch (error) {
        if (!(error instanceof RevisionConflictError) || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }

  #nowText(): string {
    return new Date(this.#options.now()).toISOString();
  }

  async #read(model: string): Promise<{ record: ModelRecord; entry: KeyValueEntry<StoredModel> }> {
    if (!MODEL_NAME.test(model)) throw new ModelNotFoundError(model);
    const entry = await this.#records.get<StoredModel>(`models/${model}`);
    const versions = entry ? await this.#versionNumbers(model) : [];
    if (!entry || versions.length === 0) throw new ModelNotFoundError(model);
    return { record: recordOf(entry.value, versions), entry };
  }

  async #ensureModel(model: StoredModel): Promise<void> {
    const key = `models/${model.model}`;
    try {
      if (!(await this.#records.get(key))) await this.#records.create(key, model);
    } catch (error) {
      if (!(error instanceof RevisionConflictError)) throw error;
    }
  }

  async #version(model: string, number: number): Promise<ModelVersion | undefined> {
    return (await this.#records.get<ModelVersion>(`versions/${model}/${number}`))?.value;
  }

  async #versionNumbers(model: string): Promise<number[]> {
    const prefix = `versions/${model}/`;
    return (await this.#records.keys(prefix)).map((key) => Number(key.slice(prefix.length)));
  }
}

function recordOf(stored: StoredModel, versions: number[]): ModelRecord {
  const sorted = versions.toSorted((a, b) => a - b);
  return { ...stored, versions: sorted, latestVersion: sorted.at(-1)! };
}

function aliasTarget(record: ModelRecord, alias: string): number | undefined {
  return ALIAS_NAME.test(alias) && Object.hasOwn(record.aliases, alias) ? record.aliases[alias] : undefined;
}

function versionNotFound(record: ModelRecord, wanted: string): ModelVersionNotFoundError {
  return new ModelVersionNotFoundError(record.model, wanted, [
    ...record.versions,
    ...Object.keys(record.aliases).toSorted(),
  ]);
}
