/**
 * What a node that serves predictions says of its own load: with every answer, and to the probes that ask several times
 * a second whether it lives. Three numbers, as JSON or as plain data within a message.
 */

export type NodeLoad = {
  /** Rows accepted and not answered yet. */
  rows: number;
  /** Until all of them are answered, by what rows of their models take here lately. */
  waitMs: number;
  /** What one more row adds, on average over what was answered lately; 0 where nothing was. */
  rowMs: number;
};

export function printNodeLoad({ rows, waitMs, rowMs }: NodeLoad): Uint8Array {
  return Buffer.from(JSON.stringify({ rows, waitMs: rounded(waitMs), rowMs: rounded(rowMs) }));
}

/** Undefined for what is no load: no bytes, or what another release may say. */
export function parseNodeLoad(bytes: Uint8Array): NodeLoad | undefined {
  if (bytes.length === 0) return undefined;
  try {
    return readNodeLoad(JSON.parse(Buffer.from(bytes).toString()));
  } catch {
    return undefined;
  }
}

/** Undefined for what is no load. */
export function readNodeLoad(value: unknown): NodeLoad | undefined {
  const { rows, waitMs, rowMs } = (value ?? {}) as Record<string, unknown>;
  return isAmount(rows) && isAmount(waitMs) && isAmount(rowMs) ? { rows, waitMs, rowMs } : undefined;
}

function isAmount(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

/** Microseconds are exact enough. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
