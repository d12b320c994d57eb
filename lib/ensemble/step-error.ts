/** A step's failure under the name of the step; code, type and facts stay those of what happened. */

import { type ErrorData, errorMessage, errorType, MoietyError } from "../errors.ts";

type Thrown = { code?: unknown; retryable?: unknown; data?: unknown };

export class StepError extends MoietyError {
  readonly code: number;
  readonly type: string;
  override readonly retryable: boolean;

  constructor(step: string, cause: unknown) {
    const { code, retryable, data } = (cause ?? {}) as Thrown;
    const facts = typeof data === "object" && data !== null ? (data as ErrorData) : {};
    super(`Step '${step}': ${errorMessage(cause)}`, { ...facts, step }, { cause });
    this.code = typeof code === "number" ? code : 500;
    this.type = errorType(cause);
    this.retryable = retryable === true;
  }
}
