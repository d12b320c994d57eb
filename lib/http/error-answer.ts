/**
 * Any thrown value as an HTTP answer: `{"error", "type", "data"?}` with its status. Errors of the catalogue speak
 * for themselves, local or rebuilt from another node; Moleculer's own are translated to the same vocabulary; all
 * else is "INTERNAL", whose message and stack stay in the log.
 */

import { errorMessage } from "../errors.ts";

export type ErrorAnswer = {
  status: number;
  type: string;
  /** JSON text. */
  body: string;
  headers: Record<string, string>;
};

/** What a caller may know of an error, whatever protocol it leaves by. */
export type ErrorFacts = { status: number; type: string; message: string; data?: unknown };

/** The fields that errors of the catalogue and of Moleculer share. */
type ThrownFields = { name?: unknown; code?: unknown; type?: unknown; data?: unknown };

type ValidationFault = { field?: unknown; message?: unknown; actual?: unknown; expected?: unknown };

/** Of an answer. */
const MAX_CHARACTERS = 16_384;
const MAX_MESSAGE_CHARACTERS = 1_024;

const TYPE_PATTERN = /^[A-Z][A-Z0-9_]*$/;

export function errorAnswer(error: unknown): ErrorAnswer {
  const { status, type, message, data } = errorFacts(error);
  const headers: Record<string, string> = {};
  const { retryAfterSeconds, allowed } = (data ?? {}) as { retryAfterSeconds?: unknown; allowed?: unknown };
  if (typeof retryAfterSeconds === "number") headers["Retry-After"] = String(Math.ceil(retryAfterSeconds));
  if (status === 405 && Array.isArray(allowed)) headers.Allow = allowed.join(", ");
  if (status === 415) headers["Accept-Encoding"] = "gzip, deflate";
  const hasData = data !== undefined && data !== null && Object.keys(data).length > 0;
  const body = JSON.stringify({ error: message, type, ...(hasData ? { data } : {}) });
  return { status, type, headers, body: body.length > MAX_CHARACTERS ? shortened(message, type) : body };
}

/** What a client sent comes back in errors, names of fields of megabytes too: then the beginning must do. */
function shortened(message: string, type: string): string {
  return JSON.stringify({ error: `${message.slice(0, MAX_MESSAGE_CHARACTERS)}…`, type });
}

export function errorFacts(error: unknown): ErrorFacts {
  const { name, code, type, data } = (error ?? {}) as ThrownFields;
  const translate = TRANSLATIONS[String(name)];
  if (translate) return translate(error as Error & ThrownFields);
  if (
    typeof code === "number" &&
    code >= 400 &&
    code < 600 &&
    typeof type === "string" &&
    TYPE_PATTERN.test(type)
  )
    return { status: code, type, message: errorMessage(error), data };
  return { status: 500, type: "INTERNAL", message: "Internal error; the log has the details" };
}

const unavailable = (error: Error & ThrownFields): ErrorFacts => ({
  status: 503,
  type: "UNAVAILABLE",
  message: `Not available at the moment: ${error.message}`,
  data: { retryAfterSeconds: 1 },
});

const deadline = (error: Error & ThrownFields): ErrorFacts => ({
  status: 504,
  type: "DEADLINE_EXCEEDED",
  message: error.message,
});

const invalid = (error: Error & ThrownFields): ErrorFacts => {
  const faults = (Array.isArray(error.data) ? error.data : []) as ValidationFault[];
  const described = faults.map(({ field, message, actual, expected }) => {
    const received = actual === undefined ? "" : `, received ${JSON.stringify(actual)}`;
    const wanted =
      expected === undefined || expected === null ? "" : `, expected ${JSON.stringify(expected)}`;
    return `${field}: ${message}${received}${wanted}`;
  });
  return {
    status: 400,
    type: "INVALID_INPUT",
    message: described.length > 0 ? `Invalid ${described.join("; ")}` : error.message,
    data: { fields: faults.map(({ field }) => field) },
  };
};

/** Errors that Moleculer and moleculer-web raise, by class name (which survives a hop between nodes). */
const TRANSLATIONS: Readonly<Record<string, (error: Error & ThrownFields) => ErrorFacts>> = {
  ServiceNotFoundError: unavailable,
  ServiceNotAvailableError: unavailable,
  ServiceUnavailableError: unavailable,
  RequestRejectedError: unavailable,
  BrokerDisconnectedError: unavailable,
  QueueIsFullError: unavailable,
  RequestTimeoutError: deadline,
  RequestSkippedError: deadline,
  ValidationError: invalid,
  BadRequestError: (error) => ({
    status: 400,
    type: "INVALID_INPUT",
    message: "Invalid URL: it cannot be decoded",
    data: error.data,
  }),
};
