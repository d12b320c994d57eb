/**
 * Installs a server program from Debian, for machines where we are root and the program is missing.
 *
 * The package must not start a system service of its own: a `policy-rc.d` that forbids it stands while apt runs, and
 * goes away with it. flock(1) lets one process install at a time; the kernel frees the lock when its holder dies.
 */

import { spawn } from "node:child_process";
import { ServerMissingError } from "../lib/errors.ts";

const TIMEOUT_SECONDS = 300;
/** Held by whoever runs apt as root, so that two processes of ours do not meet in it. */
export const APT_LOCK_FILE = "/run/moiety-apt.lock";

/** $1 is the program, $2 its package. Looks again first: another process may have installed it meanwhile. */
const SCRIPT = `
set -e
if command -v "$1" >/dev/null; then exit 0; fi
policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 1' HUP INT TERM
  printf '#!/bin/sh\\nexit 101\\n' > "$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o DPkg::Lock::Timeout=120 update
apt-get -qq -y -o DPkg::Lock::Timeout=120 --no-install-recommends install "$2"
`;

/** @throws {ServerMissingError} with the end of apt's output when the package cannot be installed */
export async function installFromDebian(program: string, packageName: string): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new ServerMissingError(program, "it is not on the PATH, and only root may install it");
  const script = ["timeout", String(TIMEOUT_SECONDS), "sh", "-c", SCRIPT, "sh", program, packageName];
  const environment = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin` };
  const { code, output } = await run(
    "flock",
    ["-w", String(TIMEOUT_SECONDS), APT_LOCK_FILE, ...script],
    environment,
  );
  if (code !== 0)
    throw new ServerMissingError(
      program,
      `it is not on the PATH, and Debian's ${packageName} could not be installed: ${output || `exit status ${code}`}`,
    );
}

function run(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-2000);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.once("error", (error) => resolve({ code: null, output: error.message }));
    child.once("close", (code) => resolve({ code, output: output.trim() }));
  });
}
