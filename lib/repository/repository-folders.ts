/**
 * Keeps the registry in line with model folders. A look (`sync`) takes in what was the same at the look before, so
 * that nothing half copied is read. A model whose folder has gone is unloaded, its versions stay; it is loaded again
 * when the folder comes back. One fault never keeps the rest from being served: it is logged once and kept as a state.
 */

import { dirname } from "node:path";
import type { FolderReport, FolderState } from "../protocol/repository.ts";
import { type Look, lookAt, type ModelFolder } from "./folder-scan.ts";
import {
  type Again,
  type Followed,
  FollowedModel,
  type FollowOptions,
  fault,
  sooner,
} from "./followed-model.ts";

export type RepositoryFoldersOptions = FollowOptions & { directories: readonly string[] };

export class RepositoryFolders {
  readonly #options: RepositoryFoldersOptions;
  readonly #models = new Map<string, FollowedModel>();
  /** Of this look, beside those of models. */
  #faults: FolderState[] = [];
  /** Faults that were there at the look before. */
  #told = new Set<string>();
  /** Whether a look has found nothing to take in. */
  #quiet = false;
  #stopped = false;

  constructor(options: RepositoryFoldersOptions) {
    this.#options = options;
  }

  /** One look and what follows from it. */
  async sync(): Promise<Again> {
    const look = await lookAt(this.#options.directories);
    if (this.#stopped) return "no";
    this.#faults = look.unreadable.map(({ directory, reason }) =>
      fault("", undefined, `${directory}: ${reason}`),
    );
    const found = this.#firstOfEachName(look.models);
    const result: Followed = { again: "no", published: false };
    for (const folder of found.values()) {
      const { again, published } = await this.#follow(folder);
      // What was cancelled is no fault.
      if (this.#stopped) return "no";
      result.again = sooner(result.again, again);
      result.published ||= published;
    }
    const again = sooner(result.again, await this.#miss(found, look));
    this.#tell();
    if (this.#quiet) return again;
    // One look more: who serves what was published last has heard of it by then.
    this.#quiet = again !== "soon" && !result.published;
    return this.#quiet ? again : "soon";
  }

  report(): FolderReport {
    const hasNew = [...this.#models.values()].some((model) => model.hasNew);
    return { settled: this.#quiet || !hasNew, states: this.states() };
  }

  /** What is wrong, or not taken in yet. */
  states(): FolderState[] {
    return [...this.#faults, ...[...this.#models.values()].flatMap((model) => model.states())];
  }

  /** Begins nothing further. */
  stop(): void {
    this.#stopped = true;
  }

  #firstOfEachName(folders: readonly ModelFolder[]): Map<string, ModelFolder> {
    const found = new Map<string, ModelFolder>();
    for (const folder of folders) {
      const first = found.get(folder.model);
      if (!first) found.set(folder.model, folder);
      else
        this.#faults.push(
          fault(folder.model, undefined, `${folder.path} is left out: ${first.path} has the name too`),
        );
    }
    return found;
  }

  async #follow(folder: ModelFolder): Promise<Followed> {
    const known = this.#models.get(folder.model);
    if (known) return known.follow(folder, () => this.#stopped);
    this.#models.set(folder.model, await FollowedModel.first(folder, this.#options));
    return { again: "soon", published: false };
  }

  /** What a look did not find; in a directory that cannot be read nothing has gone. */
  async #miss(found: ReadonlyMap<string, unknown>, { unreadable }: Look): Promise<Again> {
    let again: Again = "no";
    for (const [model, followed] of this.#models) {
      const isHidden = unreadable.some(({ directory }) => directory === dirname(followed.path));
      if (!found.has(model) && !isHidden) again = sooner(again, await followed.miss());
    }
    return again;
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
