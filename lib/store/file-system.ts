/**
 * The few file operations a durable store is made of: write and fsync, fsync a folder, tell a missing file from
 * a broken disk. Every failure of the operating system leaves here as a StoreUnavailableError that names the path
 * and says in words what is the matter.
 */

import { randomUUID } from "node:crypto";
import { link, mkdir, open, readdir, rename, rm, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errorMessage, MoietyError, StoreUnavailableError } from "../errors.ts";

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "no permission",
  EPERM: "the operation is not permitted",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  ENOTDIR: "a file stands where a folder is needed",
  EEXIST: "a file stands where a folder is needed",
  EISDIR: "a folder stands where a file is needed",
  ENOENT: "the folder does not exist and cannot be made",
  EMFILE: "this process has too many open files",
  EIO: "input/output error",
};

/** The operating system's code of a failure ("ENOENT"), or undefined for any other error. */
export function failureCode(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/** Runs file work; what the operating system refuses becomes a StoreUnavailableError naming path and reason. */
export async function guarded<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof MoietyError) throw error;
    const { path: failedPath } = error as NodeJS.ErrnoException;
    const code = failureCode(error);
    const reason = code ? `${REASONS[code] ?? errorMessage(error)} (${code})` : errorMessage(error);
    throw new StoreUnavailableError(failedPath ?? path, reason, { cause: error });
  }
}

/** Names in a folder; none when it does not exist. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (failureCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** Removes a file; one that is gone already is no error. */
export async function remove(file: string): Promise<void> {
  try {
    await unlink(file);
  } catch (error) {
    if (failureCode(error) !== "ENOENT") throw error;
  }
}

/** Writes a new file under a name of its own in `directory`; its bytes are on the disk once resolved. */
export async function writeTemporary(directory: string, content: string | Uint8Array): Promise<string> {
  const file = join(directory, randomUUID());
  const handle = await open(file, "wx");
  try {
    await handle.writeFile(content);
    await handle.sync();
  } catch (error) {
    await handle.close();
    await remove(file);
    throw error;
  }
  await handle.close();
  return file;
}

/** Makes the names in a folder durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Makes a folder and its missing parents, durably. (Node's own recursive mkdir spins for ever where a folder's
 * parent exists but takes no folders, as in /proc.)
 */
export async function makeDirectory(directory: string): Promise<void> {
  if (await madeIn(directory)) return;
  await makeDirectory(dirname(directory));
  if (!(await madeIn(directory))) await mkdir(directory);
}

/** Whether the folder is there now; false when its parent is missing. */
async function madeIn(directory: string): Promise<boolean> {
  try {
    await mkdir(directory);
    await syncDirectory(dirname(directory));
    return true;
  } catch (error) {
    if (failureCode(error) === "ENOENT" && dirname(directory) !== directory) return false;
    if (failureCode(error) === "EEXIST" && (await stat(directory)).isDirectory()) return true;
    throw error;
  }
}

/** Proves that files can be made, linked, renamed and removed in `directory`. @throws the operating system's error */
export async function probeWritable(directory: string): Promise<void> {
  try {
    const file = await writeTemporary(directory, "probe");
    await link(file, `${file}.link`);
    await rename(`${file}.link`, `${file}.renamed`);
    await remove(`${file}.renamed`);
    await remove(file);
  } catch (error) {
    throw Object.assign(error as Error, { path: directory });
  }
}

/** Removes files and folders that a crash left behind in a folder of temporary ones. */
export async function removeOlderThan(directory: string, ageMs: number): Promise<void> {
  for (const name of await namesIn(directory)) {
    const path = join(directory, name);
    const modifiedMs = await stat(path).then(
      (found) => found.mtimeMs,
      () => Number.POSITIVE_INFINITY,
    );
    if (Date.now() - modifiedMs > ageMs) await rm(path, { recursive: true, force: true });
  }
}
