/**
 * A step's failure under the name of the step; code, type and facts stay those of what happened. Only that a step's
 * model is not there is no fault of who asks for the ensemble: it is not ready then.
 */

import { type ErrorData, errorMessage, errorType, MoietyError } from "../errors.ts";

const NOT_THERE = new Set(["MODEL_NOT_FOUND", "MODEL_VERSION_NOT_FOUND"]);

type Thrown = { code?: unknown; retryable?: unknown; data?: unknown };

export class StepError extends MoietyError {
  readonly code: number;
  readonly type: string;
  override readonly retryable: boolean;

  constructor(step: string, cause: unknown) {
    const { code, retryable, data } = (cause ?? {}) as Thrown;
    const facts = typeof data === "object" && data !== null ? (data as ErrorData) : {};
    super(`Step '${step}': ${errorMessage(cause)}`, { ...facts, step }, { cause });
    const type = errorType(cause);
    const notThere = NOT_THERE.has(type);
    this.type = notThere ? "MODEL_NOT_READY" : type;
    this.code = notThere ? 503 : typeof code === "number" ? code : 500;
    this.retryable = notThere || retryable === true;
  }
}
