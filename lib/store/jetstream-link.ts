/**
 * One connection to a NATS server with JetStream, and how to work over it: every request has a deadline, requests
 * that a restart of the server swallowed are made again for a while, and what fails in the end says which server
 * and why. The connection comes back by itself whenever the server does.
 */

import { setTimeout as wait } from "node:timers/promises";
import {
  type ConnectionOptions,
  connect,
  ErrorCode,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
  NatsError,
} from "nats";
import { errorMessage, MoietyError, StoreUnavailableError } from "../errors.ts";

/** Of one request. */
const REQUEST_TIMEOUT_MS = 3_000;
/** Of one store operation, its repetitions included; it ends at most one request later. */
const PATIENCE_MS = 10_000;
/** As many requests as fit in there without an answer; made also when the clock says that all of it has passed at once. */
const MIN_ATTEMPTS = 4;
const RETRY_DELAY_MS = 100;
const RECONNECT_DELAY_MS = 250;

const TRANSIENT: ReadonlySet<string> = new Set([
  ErrorCode.Timeout,
  ErrorCode.NoResponders,
  ErrorCode.Disconnect,
  ErrorCode.ConnectionTimeout,
  ErrorCode.JetStream408RequestTimeout,
  ErrorCode.JetStreamIdleHeartBeat,
]);

/** JetStream's number for "wrong last sequence": a compare-and-set that lost. */
const WRONG_LAST_SEQUENCE = 10071;

export class JetStreamLink {
  readonly jetstream: JetStreamClient;
  readonly manager: JetStreamManager;
  readonly #connection: NatsConnection;
  readonly #place: string;

  private constructor(connection: NatsConnection, manager: JetStreamManager, place: string) {
    this.#connection = connection;
    this.manager = manager;
    this.#place = place;
    this.jetstream = connection.jetstream({ timeout: REQUEST_TIMEOUT_MS });
  }

  /**
   * Asks a server that is slow to answer again for a while; one that refuses is given up at once.
   * @throws {StoreUnavailableError} when nobody answers at `url`, or JetStream is off there
   */
  static async open(url: string): Promise<JetStreamLink> {
    const place = withoutPassword(url);
    const patience = new Patience();
    for (; ; await wait(RETRY_DELAY_MS)) {
      let connection: NatsConnection | undefined;
      try {
        connection = await connect(connectionOptions(url));
        const manager = await connection.jetstreamManager({ timeout: REQUEST_TIMEOUT_MS });
        return new JetStreamLink(connection, manager, place);
      } catch (error) {
        await connection?.close();
        if (!isSilence(error) || patience.ends())
          throw new StoreUnavailableError(place, reasonOf(error), { cause: error });
      }
    }
  }

  /** Does work that may be done twice, again and again until it succeeds or patience ends. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const patience = new Patience();
    for (; ; await wait(RETRY_DELAY_MS)) {
      if (this.#connection.isClosed()) throw new StoreUnavailableError(this.#place, "it has been closed");
      try {
        return await work();
      } catch (error) {
        if (error instanceof MoietyError) throw error;
        if (!isTransient(error) || patience.ends())
          throw new StoreUnavailableError(this.#place, reasonOf(error), { cause: error });
      }
    }
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

/** Of one operation. A machine that stood still for a while has not asked, and so has not been patient. */
class Patience {
  readonly #deadline = performance.now() + PATIENCE_MS;
  #attempts = 0;

  /** To be asked after each attempt that failed: whether it was the last. */
  ends(): boolean {
    this.#attempts++;
    return this.#attempts >= MIN_ATTEMPTS && performance.now() > this.#deadline;
  }
}

/** Thrown by work that another attempt may mend. It never leaves `run`. */
export class TransientError extends Error {}

export function lostRace(error: unknown): boolean {
  return error instanceof NatsError && error.api_error?.err_code === WRONG_LAST_SEQUENCE;
}

export function notFound(error: unknown): boolean {
  return error instanceof NatsError && error.code === ErrorCode.JetStream404NoMessages;
}

/** Nobody said no: the server may be starting, or busy. */
function isSilence(error: unknown): boolean {
  return (
    error instanceof NatsError &&
    (error.code === ErrorCode.Timeout || error.code === ErrorCode.ConnectionTimeout)
  );
}

function isTransient(error: unknown): boolean {
  return error instanceof TransientError || (error instanceof NatsError && TRANSIENT.has(error.code));
}

function reasonOf(error: unknown): string {
  if (!(error instanceof NatsError)) return errorMessage(error);
  switch (error.code) {
    case ErrorCode.ConnectionRefused:
      return "the server refuses connections";
    case ErrorCode.Timeout:
    case ErrorCode.ConnectionTimeout:
      return "the server does not answer";
    case ErrorCode.NoResponders:
      return "JetStream is not running there";
    case ErrorCode.ConnectionClosed:
      return "it has been closed";
    default:
      return error.api_error?.description ?? error.message;
  }
}

function connectionOptions(url: string): ConnectionOptions {
  const { protocol, username, password, host } = new URL(url);
  return {
    servers: host,
    name: "moiety-store",
    timeout: REQUEST_TIMEOUT_MS,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_DELAY_MS,
    reconnectJitter: RECONNECT_DELAY_MS,
    pingInterval: 10_000,
    ...(protocol === "tls:" ? { tls: {} } : {}),
    ...(username ? { user: decodeURIComponent(username), pass: decodeURIComponent(password) } : {}),
  };
}

function withoutPassword(url: string): string {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
}
