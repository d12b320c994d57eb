/**
 * What one node knows about one model: its record in the registry, the versions it holds, and which of them answers
 * a request that names a number, an alias or nothing. An alias that has moved keeps answering from its old target
 * until the new one is loaded here.
 */

import { ModelNotReadyError, ModelVersionNotFoundError } from "../errors.ts";
import { type ModelRecord, PRODUCTION_ALIAS } from "../protocol/models.ts";
import type { InstanceName, LoadedModel, ModelName } from "../runtime/worker-pool.ts";
import type { Batcher } from "./batcher.ts";
import type { EnsembleVersion } from "./ensemble-version.ts";
import type { VersionStatistics } from "./statistics.ts";

/** Where the requests of a version wait. */
export type VersionQueue = Pick<Batcher, "queued" | "policy" | "submit" | "drain">;

export type ReadyVersion = {
  name: ModelName;
  number: number;
  /** How the worker pool knows it: a configuration that changed has it loaded beside itself. */
  instance: InstanceName;
  /** Of the configuration it was loaded with; see instance-options.ts. */
  instanceKey: string;
  /** The last attempt to load it with another configuration, unless that went well. */
  reload?: { key: string; reason: string; retryAt: number; attempts: number };
  loaded: LoadedModel;
  /** Of the model file. */
  digest: string;
  labels: string[];
  batcher: VersionQueue;
  /** What `batcher` is, where the version is an ensemble. */
  ensemble?: EnsembleVersion;
  statistics: VersionStatistics;
};

export type HeldVersion =
  | { state: "loading"; number: number }
  | { state: "ready"; number: number; ready: ReadyVersion }
  | {
      state: "failed";
      number: number;
      reason: string;
      /** In the clock's milliseconds. */
      retryAt: number;
      attempts: number;
      /** Whether trying again is hardly worth it. */
      lasting: boolean;
      /** Why it was wanted when it failed: a new reason is worth a new attempt. */
      wantedAs: string;
    };

/** How many of a model's newest versions are served where its configuration does not say. */
const LATEST_SERVED = 2;

export class ServedModel {
  record: ModelRecord;
  readonly versions = new Map<number, HeldVersion>();
  /** Versions that loaded ensembles name by number. */
  pinned: ReadonlySet<number> = new Set();
  /** Alias to the version that answers for it now. */
  readonly #answering = new Map<string, number>();

  constructor(record: ModelRecord) {
    this.record = record;
  }

  /** Versions that should be loaded, and as what: "policy", alias names, "rollout", "ensemble". */
  wanted(): Map<number, string> {
    const { aliases, rollout, unloaded } = this.record;
    const wanted = new Map<number, string>();
    if (unloaded) return wanted;
    const add = (version: number, as: string) => {
      const before = wanted.get(version);
      wanted.set(version, before ? `${before} ${as}` : as);
    };
    for (const version of this.#byPolicy()) add(version, "policy");
    for (const alias of Object.keys(aliases).sort()) add(aliases[alias]!, alias);
    for (const part of [rollout?.canary, rollout?.shadow]) if (part) add(part.version, "rollout");
    for (const version of this.pinned) if (this.record.versions.includes(version)) add(version, "ensemble");
    return wanted;
  }

  /** Versions to load whether or not an alias points to them. */
  #byPolicy(): number[] {
    const { versions, configuration } = this.record;
    const policy = configuration?.versions ?? { latest: LATEST_SERVED };
    if (policy === "all") return versions;
    if ("numbers" in policy) return versions.filter((version) => policy.numbers.includes(version));
    return versions.toSorted((a, b) => a - b).slice(-policy.latest);
  }

  /** Points every alias at its target once that is loaded; forgets aliases that are gone. */
  followAliases(): void {
    if (this.record.unloaded) {
      this.#answering.clear();
      return;
    }
    for (const [alias, target] of Object.entries(this.record.aliases)) {
      const current = this.#answering.get(alias);
      if (this.ready(target) || current === undefined || !this.ready(current))
        this.#answering.set(alias, target);
    }
    for (const alias of this.#answering.keys())
      if (!(alias in this.record.aliases)) this.#answering.delete(alias);
  }

  /** Loaded versions that may go: not wanted, answering for no alias, and something wanted is there instead. */
  dispensable(): ReadyVersion[] {
    const wanted = this.wanted();
    const answering = new Set(this.#answering.values());
    if (wanted.size > 0 && ![...wanted.keys()].some((version) => this.ready(version))) return [];
    return this.readyVersions().filter(({ number }) => !wanted.has(number) && !answering.has(number));
  }

  ready(version: number): ReadyVersion | undefined {
    const held = this.versions.get(version);
    return held?.state === "ready" ? held.ready : undefined;
  }

  /** Whether a version is on its way. */
  get isLoading(): boolean {
    return [...this.versions.values()].some(({ state }) => state === "loading");
  }

  /** Whether none of the versions that should be here is. */
  get isMissing(): boolean {
    return this.wanted().size > 0 && this.readyVersions().length === 0;
  }

  /** Loaded versions, oldest first. */
  readyVersions(): ReadyVersion[] {
    return [...this.versions.values()]
      .flatMap((held) => (held.state === "ready" ? [held.ready] : []))
      .sort((a, b) => a.number - b.number);
  }

  /**
   * The loaded version that answers for `version`: digits, an alias, or undefined for the production alias and,
   * without one, the newest loaded version.
   * @throws {ModelVersionNotFoundError} {ModelNotReadyError}
   */
  resolve(version: string | undefined): ReadyVersion {
    const { model, aliases, latestVersion, unloaded } = this.record;
    if (unloaded) throw new ModelNotReadyError(model, version ?? "latest", "the model has been unloaded");
    if (version === undefined && !(PRODUCTION_ALIAS in aliases)) {
      const newest = this.readyVersions().at(-1);
      if (newest) return newest;
      throw new ModelNotReadyError(model, String(latestVersion), this.#whyNotReady(latestVersion));
    }
    const number = this.#number(version ?? PRODUCTION_ALIAS);
    const ready = this.ready(number);
    if (ready) return ready;
    throw new ModelNotReadyError(model, version ?? String(number), this.#whyNotReady(number));
  }

  #number(version: string): number {
    const { model, versions, aliases } = this.record;
    const number = /^\d+$/.test(version) ? Number(version) : this.#answering.get(version);
    if (number === undefined || !versions.includes(number))
      throw new ModelVersionNotFoundError(model, version, [...versions, ...Object.keys(aliases)]);
    return number;
  }

  #whyNotReady(version: number): string {
    const held = this.versions.get(version);
    if (held?.state === "failed") return held.reason;
    if (held?.state === "loading") return "it is being loaded";
    return this.wanted().has(version) ? "it is about to be loaded" : "it is not among the versions served";
  }
}
