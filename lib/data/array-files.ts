/**
 * The array files of one data set: each is opened once, looked through once in the order of opening, and kept in
 * memory as long as all kept ones together stay within a limit, the smallest first.
 */

import { createHash } from "node:crypto";
import { ArrayFile, type Inspection } from "./array-file.ts";

export class ArrayFiles {
  private readonly dataset: string;
  private readonly opened = new Map<string, { array: ArrayFile; inspections: Inspection[] }>();
  private readonly hash = createHash("sha256");

  constructor(dataset: string) {
    this.dataset = dataset;
  }

  /** @throws {DatasetNotFoundError} {DatasetCorruptError} */
  open(file: string): ArrayFile {
    const known = this.opened.get(file);
    if (known) return known.array;
    const array = new ArrayFile(this.dataset, file);
    this.opened.set(file, { array, inspections: [] });
    return array;
  }

  /** Has the values of an opened file looked at when it is loaded. */
  inspect({ file }: ArrayFile, inspection: Inspection): void {
    this.opened.get(file)!.inspections.push(inspection);
  }

  /** Bytes that belong to the data set beside its arrays. */
  addToDigest(bytes: Uint8Array): void {
    this.hash.update(bytes);
  }

  /**
   * Reads the given files, which are open, and closes all others. Gives the digest of what was read.
   * @throws {DatasetCorruptError} and what an inspection throws
   */
  load(wanted: readonly ArrayFile[], maxMemoryBytes: number): string {
    const entries = [...this.opened.values()].filter(({ array }) => wanted.includes(array));
    const kept = new Set<ArrayFile>();
    let left = maxMemoryBytes;
    for (const { array } of entries.toSorted((a, b) => a.array.byteLength - b.array.byteLength)) {
      if (array.byteLength > left) break;
      left -= array.byteLength;
      kept.add(array);
    }
    for (const { array } of this.opened.values()) if (!wanted.includes(array)) array.close();
    for (const { array, inspections } of entries) array.load(this.hash, kept.has(array), inspections);
    return `sha256:${this.hash.digest("hex")}`;
  }

  async close(): Promise<void> {
    for (const { array } of this.opened.values()) array.close();
  }
}
