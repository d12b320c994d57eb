/**
 * The names and contents of the files that records are kept in (see file-records.ts): what a revision file holds,
 * and how the segments of a key become folders that never meet.
 */

import { randomBytes } from "node:crypto";
import { StoreUnavailableError } from "../errors.ts";

/** What one revision file holds. `ancestors` are the ids of the revisions before it, newest first. */
export type Revision = {
  revision: number;
  id: string;
  ancestors: string[];
  deleted: boolean;
  value: unknown;
};
export type Change = { deleted: boolean; json: string };

export const TOMBSTONE: Change = { deleted: true, json: "null" };

/** Marks the folder of a key; the character occurs in no segment, so keys and folders of keys never meet. */
export const KEY_MARK = "=";
/** Follows the name of a key's folder: a deletion of that key was at least begun. */
export const BURIAL_MARK = "~";

/** Whether there is a value: neither nothing nor a tombstone. */
export function isLive(revision: Revision | undefined): boolean {
  return revision !== undefined && !revision.deleted;
}

/** Tells one write from every other. */
export function newId(): string {
  return randomBytes(6).toString("base64url");
}

export function encodeRevision(
  revision: number,
  id: string,
  ancestors: string[],
  { deleted, json }: Change,
): string {
  const head = JSON.stringify({ revision, id, ancestors, deleted });
  return `${head.slice(0, -1)},"value":${json}}`;
}

/** @throws {StoreUnavailableError} when the file is damaged */
export function parseRevision(file: string, text: string): Revision {
  let cause: unknown;
  try {
    const parsed = JSON.parse(text) as Revision | null;
    if (Number.isSafeInteger(parsed?.revision) && Array.isArray(parsed?.ancestors)) return parsed;
  } catch (error) {
    cause = error;
  }
  throw new StoreUnavailableError(file, "it holds no valid record", { cause });
}

/** Capitals are spelt "+a": some file systems take "Model" and "model" for one name. */
export function folderName(segment: string): string {
  return segment.replace(/[A-Z]/g, (letter) => `+${letter.toLowerCase()}`);
}

/** The segment a folder stands for, key or not. */
export function segmentName(folder: string): string {
  const name = folder.endsWith(KEY_MARK) ? folder.slice(0, -KEY_MARK.length) : folder;
  return name.replace(/\+([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
