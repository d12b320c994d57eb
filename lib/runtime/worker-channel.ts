/**
 * What carries messages between the pool and one worker, and ends it: a thread of this process, or a process of its own.
 * Messages arrive whole and in order.
 */

import type { FromWorker, ToWorker } from "./inference-messages.ts";

export const ISOLATIONS = ["thread", "process"] as const;
/** `thread`: messages cost least, but a native abort ends the whole process. `process`: it ends one worker. */
export type Isolation = (typeof ISOLATIONS)[number];

export interface WorkerChannel {
  /** Of the worker's own process; undefined for a thread. */
  readonly pid?: number | undefined;
  /** Buffers in `transfer` are lost to the caller. @throws {Error} when the message cannot be sent */
  post(message: ToWorker, transfer: ArrayBuffer[]): void;
  /** Gives the worker up; it no longer keeps this process alive. Whether it ends at once. */
  abandon(): boolean;
  /** For a process that is exiting: waits, or sees to it, that the worker does no harm. */
  haltForExit(timeoutMs: number): void;
}

export type ChannelEvents = {
  message(message: FromWorker): void;
  /** The worker is of no more use; it may still have to end. */
  failed(reason: string): void;
  /** It has ended. */
  exited(reason: string): void;
};

export type OpenChannel = (name: string, events: ChannelEvents) => WorkerChannel;
