/** How a command ends that could not do its work: one line for what we foresaw, the stack for what we did not. */

import { MoietyError } from "../lib/errors.ts";

export function failureText(error: unknown): string {
  const foreseen = error instanceof MoietyError || (error as { type?: unknown } | null)?.type !== undefined;
  if (!(error instanceof Error)) return String(error);
  return foreseen ? error.message : (error.stack ?? error.message);
}

export function exitWith(error: unknown): never {
  process.stderr.write(`${failureText(error)}\n`);
  process.exit(1);
}
