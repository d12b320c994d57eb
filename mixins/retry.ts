/** Which failed calls are worth another attempt, for actions that may be repeated. */

/** Deadlines that passed, and queues that are full: a second attempt would only add to the load. */
const HOPELESS = new Set([
  "REQUEST_TIMEOUT",
  "REQUEST_SKIPPED",
  "DEADLINE_EXCEEDED",
  "QUEUE_FULL",
  "SERVICE_NOT_FOUND",
]);

/** Whether the same call may succeed on another node, or on this one in a moment. */
export function isWorthRetrying(error: unknown): boolean {
  const { retryable, type } = (error ?? {}) as { retryable?: unknown; type?: unknown };
  return retryable === true && !HOPELESS.has(String(type));
}
