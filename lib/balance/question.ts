/**
 * What of a prediction decides which node gets it, read from whatever a caller sends, which is checked later; and what of
 * an answer may be learnt from.
 */

export type Question = {
  /** Model and version as one name. */
  subject: string;
  /** 0: it is no prediction. */
  rows: number;
  affinity: string | undefined;
};

const MAX_NAME_CHARACTERS = 200;
const NOTHING = {};

export function questionOf(params: unknown): Question {
  const { model, version, affinity, inputs } = (params ?? NOTHING) as Record<string, unknown>;
  return {
    subject: version === undefined ? nameOf(model) : `${nameOf(model)}/${nameOf(version)}`,
    rows: rowsOf(inputs),
    affinity: typeof affinity === "string" && affinity !== "" ? affinity : undefined,
  };
}

/** As many as the first input's first dimension says; one where it says nothing. */
export function rowsOf(inputs: unknown): number {
  if (!Array.isArray(inputs)) return 0;
  const rows: unknown = (inputs as { shape?: unknown[] | null }[])[0]?.shape?.[0];
  return typeof rows === "number" && rows > 0 ? rows : 1;
}

function nameOf(value: unknown): string {
  return typeof value === "string" ? value.slice(0, MAX_NAME_CHARACTERS) : "";
}

/** Whether how long an answer took says something of its node: one from a cache does not. */
export function isTelling(answer: unknown): boolean {
  return (answer as { cached?: unknown } | null | undefined)?.cached !== true;
}
