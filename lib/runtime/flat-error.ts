/** Errors as plain data, because classes do not survive a thread border, and back. */

import { errorMessage, MoietyError } from "../errors.ts";

export type FlatError = {
  name?: string;
  type: string;
  message: string;
  code?: number;
  retryable?: boolean;
  data?: unknown;
};

/** `fallbackType` names anything that is not one of Moiety's own errors. */
export function flattenError(error: unknown, fallbackType: string): FlatError {
  if (error instanceof MoietyError) {
    const { name, type, message, code, retryable, data } = error;
    return { name, type, message, code, retryable, data };
  }
  return { type: fallbackType, message: errorMessage(error) };
}

/** An Error with the same `name`, `type`, `code`, `retryable` and `data`; compare its `type`, not its class. */
export function reviveError({ message, ...facts }: FlatError): Error {
  return Object.assign(new Error(message), facts);
}
