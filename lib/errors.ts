/**
 * Every error Moiety raises on purpose, in one catalogue.
 *
 * Each carries `code` (an HTTP status, which Moleculer and moleculer-web also use), `type` (the stable name to
 * compare with: `instanceof` does not survive a hop between nodes), `retryable` and `data` (facts, safe to show
 * to the caller). `docs/reference.md` lists every type; a test keeps the two in step.
 */

export type ErrorData = Readonly<Record<string, unknown>>;

export abstract class MoietyError extends Error {
  abstract readonly code: number;
  abstract readonly type: string;
  readonly retryable: boolean = false;
  readonly data: ErrorData;

  constructor(message: string, data: ErrorData = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.data = data;
  }
}

/** What a rejected field was, and what would have been accepted. */
export type FieldFault = { field: string; received: string; expected: string };

/** A request field has the wrong type, shape, length or value. */
export class InvalidInputError extends MoietyError {
  readonly code = 400;
  readonly type = "INVALID_INPUT";
  constructor(fault: FieldFault) {
    super(`Invalid ${fault.field}: received ${fault.received}, expected ${fault.expected}`, fault);
  }
}

/** A request body could not be parsed at all. */
export class MalformedBodyError extends MoietyError {
  readonly code = 400;
  readonly type = "MALFORMED_BODY";
  constructor(reason: string) {
    super(`Malformed request body: ${reason}`, { reason });
  }
}

export class PayloadTooLargeError extends MoietyError {
  readonly code = 413;
  readonly type = "PAYLOAD_TOO_LARGE";
  constructor(receivedBytes: number, limitBytes: number, what = "Request body") {
    super(`${what} of ${receivedBytes} bytes or more exceeds the limit of ${limitBytes} bytes`, {
      receivedBytes,
      limitBytes,
    });
  }
}

/** The request's Content-Encoding is not one the gateway can undo. */
export class UnsupportedEncodingError extends MoietyError {
  readonly code = 415;
  readonly type = "UNSUPPORTED_ENCODING";
  constructor(encoding: string, accepted: readonly string[]) {
    super(`Content-Encoding '${encoding}' is not supported; accepted: ${accepted.join(", ")}`, {
      encoding,
      accepted,
    });
  }
}

/** The client did not finish sending its request body in time. */
export class SlowBodyError extends MoietyError {
  readonly code = 408;
  readonly type = "SLOW_BODY";
  constructor(receivedBytes: number, timeoutMs: number) {
    super(`Request body was not complete after ${timeoutMs} ms: ${receivedBytes} bytes received`, {
      receivedBytes,
      timeoutMs,
    });
  }
}

export class RouteNotFoundError extends MoietyError {
  readonly code = 404;
  readonly type = "ROUTE_NOT_FOUND";
  constructor(method: string, path: string) {
    super(`No route for ${method} ${path}`, { method, path });
  }
}

export class MethodNotAllowedError extends MoietyError {
  readonly code = 405;
  readonly type = "METHOD_NOT_ALLOWED";
  constructor(method: string, path: string, allowed: readonly string[]) {
    super(`Method ${method} is not allowed on ${path}; allowed: ${allowed.join(", ")}`, {
      method,
      path,
      allowed,
    });
  }
}

/** The message begins as clients of the Open Inference Protocol expect it. */
export class ModelNotFoundError extends MoietyError {
  readonly code = 404;
  readonly type = "MODEL_NOT_FOUND";
  constructor(model: string) {
    super(`Request for unknown model: '${model}' is not found`, { model });
  }
}

export class ModelVersionNotFoundError extends MoietyError {
  readonly code = 404;
  readonly type = "MODEL_VERSION_NOT_FOUND";
  constructor(model: string, version: string, available: readonly (string | number)[]) {
    super(
      `Request for unknown model: '${model}' version '${version}' is not found; available: ${available.join(", ") || "none"}`,
      { model, version, available },
    );
  }
}

/** The version exists but this node has not finished loading it, or could not. */
export class ModelNotReadyError extends MoietyError {
  readonly code = 503;
  readonly type = "MODEL_NOT_READY";
  override readonly retryable = true;
  constructor(model: string, version: string, reason: string) {
    super(`Model '${model}' version '${version}' is not ready: ${reason}`, { model, version, reason });
  }
}

/** A model that was to be loaded could not be, on one node at least. */
export class LoadFailedError extends MoietyError {
  readonly code = 422;
  readonly type = "LOAD_FAILED";
  constructor(model: string, version: string, reason: string) {
    super(`Loading model '${model}' failed: ${reason}`, { model, version, reason });
  }
}

/** A stored model file could not be loaded by the runtime. */
export class ModelCorruptError extends MoietyError {
  readonly code = 422;
  readonly type = "MODEL_CORRUPT";
  constructor(model: string, version: string, reason: string) {
    super(`Model '${model}' version '${version}' cannot be loaded: ${reason}`, { model, version, reason });
  }
}

export class QueueFullError extends MoietyError {
  readonly code = 503;
  readonly type = "QUEUE_FULL";
  override readonly retryable = true;
  constructor(queue: string, maxSize: number, retryAfterSeconds = 1) {
    super(`Exceeds maximum queue size of ${maxSize} for '${queue}'`, { queue, maxSize, retryAfterSeconds });
  }
}

export class DrainingError extends MoietyError {
  readonly code = 503;
  readonly type = "DRAINING";
  override readonly retryable = true;
  constructor(what: string) {
    super(`${what} is shutting down and takes no new work`, { what, retryAfterSeconds: 1 });
  }
}

export class DeadlineExceededError extends MoietyError {
  readonly code = 504;
  readonly type = "DEADLINE_EXCEEDED";
  constructor(what: string, timeoutMs: number) {
    super(`${what} did not finish within ${timeoutMs} ms`, { what, timeoutMs });
  }
}

/** Nothing on the cluster can take the call at the moment. */
export class UnavailableError extends MoietyError {
  readonly code = 503;
  readonly type = "UNAVAILABLE";
  override readonly retryable = true;
  constructor(what: string, reason: string) {
    super(`${what} is not available: ${reason}`, { what, reason, retryAfterSeconds: 1 });
  }
}

export class CancelledError extends MoietyError {
  readonly code = 499;
  readonly type = "CANCELLED";
  constructor(what: string) {
    super(`${what} was cancelled`, { what });
  }
}

/** A worker thread died with work in it. */
export class WorkerCrashedError extends MoietyError {
  readonly code = 503;
  readonly type = "WORKER_CRASHED";
  override readonly retryable = true;
  constructor(worker: string, reason: string) {
    super(`Worker '${worker}' stopped unexpectedly: ${reason}`, { worker, reason });
  }
}

/** The runtime refused or failed an execution that validation let through. */
export class ExecutionError extends MoietyError {
  readonly code = 500;
  readonly type = "EXECUTION_FAILED";
  constructor(what: string, reason: string) {
    super(`${what} failed: ${reason}`, { what, reason });
  }
}

export class UnknownLayerError extends MoietyError {
  readonly code = 400;
  readonly type = "UNKNOWN_LAYER";
  constructor(layer: string, nearest: string | undefined, known: readonly string[]) {
    super(
      `Unknown layer '${layer}'${nearest ? `; did you mean '${nearest}'?` : ""} Known: ${known.join(", ")}`,
      {
        layer,
        nearest,
        known,
      },
    );
  }
}

/** A loss, optimiser, activation, initialiser or metric that is not in its table. */
export class UnknownComponentError extends MoietyError {
  readonly code = 400;
  readonly type = "UNKNOWN_COMPONENT";
  constructor(kind: string, name: string, nearest: string | undefined, known: readonly string[]) {
    super(
      `Unknown ${kind} '${name}'${nearest ? `; did you mean '${nearest}'?` : ""} Known: ${known.join(", ")}`,
      {
        kind,
        name,
        nearest,
        known,
      },
    );
  }
}

/** A declared network, or an ONNX graph, that cannot be built or differentiated. */
export class InvalidModelError extends MoietyError {
  readonly code = 400;
  readonly type = "INVALID_MODEL";
  constructor(where: string, reason: string) {
    super(`Invalid model at ${where}: ${reason}`, { where, reason });
  }
}

export class DatasetNotFoundError extends MoietyError {
  readonly code = 404;
  readonly type = "DATASET_NOT_FOUND";
  constructor(dataset: string, reason: string) {
    super(`Data set '${dataset}' is not available: ${reason}`, { dataset, reason });
  }
}

export class DatasetCorruptError extends MoietyError {
  readonly code = 422;
  readonly type = "DATASET_CORRUPT";
  constructor(file: string, fault: { received: string; expected: string }) {
    super(`Data file '${file}' is corrupt: received ${fault.received}, expected ${fault.expected}`, {
      file,
      ...fault,
    });
  }
}

/** Training met a NaN or an infinite loss. */
export class TrainingDivergedError extends MoietyError {
  readonly code = 422;
  readonly type = "TRAINING_DIVERGED";
  /** `origin`: what was the first not to be finite, and the layer it belongs to, where these could be found. */
  constructor(epoch: number, step: number, loss: number, origin?: { layer?: string; what: string }) {
    const where = origin
      ? `; it began in ${origin.layer === undefined ? origin.what : `layer '${origin.layer}': ${origin.what}`}`
      : "";
    super(`Training diverged: loss became ${loss} at epoch ${epoch}, step ${step}${where}`, {
      epoch,
      step,
      loss: String(loss),
      ...origin,
    });
  }
}

/** The converted graph does not answer as the training graph does. */
export class ParityError extends MoietyError {
  readonly code = 422;
  readonly type = "PARITY_FAILED";
  constructor(maxAbsError: number, tolerance: number, examples: number) {
    super(
      `Converted graph differs from the training graph by ${maxAbsError} on ${examples} examples; tolerance ${tolerance}`,
      { maxAbsError, tolerance, examples },
    );
  }
}

export class JobNotFoundError extends MoietyError {
  readonly code = 404;
  readonly type = "JOB_NOT_FOUND";
  constructor(job: string) {
    super(`No job '${job}'`, { job });
  }
}

/** A job cannot make the asked transition from its present state. */
export class JobStateError extends MoietyError {
  readonly code = 409;
  readonly type = "JOB_STATE";
  constructor(job: string, state: string, wanted: string) {
    super(`Job '${job}' is ${state} and cannot be ${wanted}`, { job, state, wanted });
  }
}

export class ArtifactNotFoundError extends MoietyError {
  readonly code = 404;
  readonly type = "ARTIFACT_NOT_FOUND";
  constructor(digest: string) {
    super(`No artifact ${digest}`, { digest });
  }
}

/** Stored bytes no longer match the digest they are filed under. */
export class ArtifactCorruptError extends MoietyError {
  readonly code = 500;
  readonly type = "ARTIFACT_CORRUPT";
  constructor(digest: string, receivedDigest: string) {
    super(`Artifact ${digest} is corrupt: its bytes hash to ${receivedDigest}`, { digest, receivedDigest });
  }
}

/** Compare-and-set lost: somebody else wrote the key first. */
export class RevisionConflictError extends MoietyError {
  readonly code = 409;
  readonly type = "REVISION_CONFLICT";
  override readonly retryable = true;
  constructor(key: string, expectedRevision: number) {
    super(`Key '${key}' is no longer at revision ${expectedRevision}`, { key, expectedRevision });
  }
}

/** The store refuses reads or writes: no permission, disk full, server away. */
export class StoreUnavailableError extends MoietyError {
  readonly code = 503;
  readonly type = "STORE_UNAVAILABLE";
  override readonly retryable = true;
  constructor(store: string, reason: string, options?: ErrorOptions) {
    super(`Store at ${store} is not available: ${reason}`, { store, reason }, options);
  }
}

/** A broken environment variable or option; it stops the start. */
export class ConfigError extends MoietyError {
  readonly code = 500;
  readonly type = "CONFIG_INVALID";
  constructor(variable: string, received: string, expected: string) {
    super(`${variable}=${JSON.stringify(received)} is not valid: expected ${expected}`, {
      variable,
      received,
      expected,
    });
  }
}

export class PortInUseError extends MoietyError {
  readonly code = 500;
  readonly type = "PORT_IN_USE";
  constructor(host: string, port: number, variable: string) {
    super(`Port ${port} on ${host} is in use; set ${variable} to a free port (0 picks one)`, {
      host,
      port,
      variable,
    });
  }
}

/** A server program (nats-server, redis-server) is neither installed nor installable here. */
export class ServerMissingError extends MoietyError {
  readonly code = 500;
  readonly type = "SERVER_MISSING";
  constructor(program: string, reason: string) {
    super(`${program} cannot be had: ${reason}. Install it and make sure it is on the PATH.`, {
      program,
      reason,
    });
  }
}

/** `type` of any error, local or rebuilt from another node; "INTERNAL" when it is not one of ours. */
export function errorType(error: unknown): string {
  const type = (error as { type?: unknown } | null)?.type;
  return typeof type === "string" ? type : "INTERNAL";
}

/** The message of anything thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
