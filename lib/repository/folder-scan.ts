/**
 * One look at model folders: `<name>/<version>/…`, beside the versions an optional configuration and label files.
 * Nothing is opened: what a file is, is told by name, size and times, so that a look is cheap and two of them tell
 * whether something is still being copied. Entries that begin with a dot are no models; folders whose names are no
 * positive integer are no versions.
 */

import type { Stats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage } from "../errors.ts";

export type VersionFolder = {
  number: number;
  path: string;
  /** Names of the files directly in it. */
  files: string[];
  /** Changes whenever a file in it does. */
  fingerprint: string;
};

export type ModelFolder = {
  model: string;
  path: string;
  versions: VersionFolder[];
  /** Names of the files beside the versions. */
  files: string[];
  /** Of those files. */
  fingerprint: string;
};

/** `unreadable`: folders that could not be looked into, whose models are neither there nor gone. */
export type Look = { models: ModelFolder[]; unreadable: { directory: string; reason: string }[] };

const VERSION = /^[1-9]\d{0,8}$/;
/** Folders inside a version's folder, for external data. */
const MAX_DEPTH = 4;

export async function lookAt(directories: readonly string[]): Promise<Look> {
  const look: Look = { models: [], unreadable: [] };
  for (const directory of directories)
    try {
      const names = (await readdir(directory)).filter((name) => !name.startsWith(".")).sort();
      for (const model of names) {
        const folder = await modelFolder(join(directory, model), model);
        if (folder) look.models.push(folder);
      }
    } catch (error) {
      look.unreadable.push({ directory, reason: errorMessage(error) });
    }
  return look;
}

/** Undefined where there is no folder, or no more. */
async function modelFolder(path: string, model: string): Promise<ModelFolder | undefined> {
  const entries = await entriesOf(path);
  if (!entries) return undefined;
  const versions: VersionFolder[] = [];
  for (const { name, stats } of entries)
    if (stats.isDirectory() && VERSION.test(name))
      versions.push(await versionFolder(join(path, name), Number(name)));
  const files = entries.filter(({ stats }) => stats.isFile());
  return {
    model,
    path,
    versions: versions.sort((a, b) => a.number - b.number),
    files: files.map(({ name }) => name),
    fingerprint: files.map(({ name, stats }) => mark(name, stats)).join("\n"),
  };
}

/** A version's folder as it is now. */
export async function versionFolder(path: string, number: number): Promise<VersionFolder> {
  const marks = await marksIn(path, 0);
  const files = marks.flatMap(({ file }) => (file.includes("/") ? [] : file));
  return { number, path, files, fingerprint: marks.map(({ text }) => text).join("\n") };
}

/** Of every file in a folder, by its path there. */
async function marksIn(path: string, depth: number): Promise<{ file: string; text: string }[]> {
  const marks: { file: string; text: string }[] = [];
  for (const { name, stats } of (await entriesOf(path)) ?? [])
    if (stats.isFile()) marks.push({ file: name, text: mark(name, stats) });
    else if (stats.isDirectory() && depth < MAX_DEPTH)
      for (const { file, text } of await marksIn(join(path, name), depth + 1))
        marks.push({ file: `${name}/${file}`, text: `${name}/${text}` });
  return marks;
}

function mark(name: string, { size, mtimeMs, ctimeMs, ino }: Stats): string {
  return `${name} ${size} ${mtimeMs} ${ctimeMs} ${ino}`;
}

/** By name, links followed; undefined for what is no folder. Entries that are gone meanwhile are left out. */
async function entriesOf(path: string): Promise<{ name: string; stats: Stats }[] | undefined> {
  let names: string[];
  try {
    names = await readdir(path);
  } catch (error) {
    if (["ENOTDIR", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
  const entries = await Promise.all(
    names.sort().map(async (name) => {
      const stats = await stat(join(path, name)).catch(() => undefined);
      return stats && !name.startsWith(".") ? { name, stats } : undefined;
    }),
  );
  return entries.filter((entry) => entry !== undefined);
}
