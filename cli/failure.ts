/** How a command ends that could not do its work: one line for what we foresaw, the stack for what we did not. */

import { MoietyError } from "../lib/errors.ts";

export function exitWith(error: unknown): never {
  const foreseen = error instanceof MoietyError || (error as { type?: unknown } | null)?.type !== undefined;
  const text = error instanceof Error ? (foreseen ? error.message : error.stack) : String(error);
  process.stderr.write(`${text}\n`);
  process.exit(1);
}
