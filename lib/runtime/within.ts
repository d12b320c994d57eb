import { DeadlineExceededError } from "../errors.ts";

/**
 * The promise's outcome, if it comes in time.
 * @throws {DeadlineExceededError} naming `what`; the work itself goes on, and its failure is ignored
 */
export async function within<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineExceededError(what, timeoutMs)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
