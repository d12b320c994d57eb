/**
 * One subscriber to server-sent events (WHATWG HTML, "Server-sent events"). Bounded: while the subscriber reads
 * too slowly, events that the next one supersedes are dropped first, then all but the last. The last event is
 * always written, and closes the stream.
 */

import type { ServerResponse } from "node:http";

export type EventPriority =
  /** Superseded by its successor: dropped first. */
  | "progress"
  /** Dropped only when the subscriber is far behind. */
  | "milestone";

export type EventStreamLimits = {
  /** Unsent bytes above which progress is dropped. @default 64 KiB */
  progressBytes?: number;
  /** Unsent bytes above which milestones are dropped too. @default 256 KiB */
  milestoneBytes?: number;
  /** How long a subscriber may take to read what is left after the last event. @default 10000 */
  drainMs?: number;
};

export class EventStream {
  readonly #response: ServerResponse;
  readonly #limits: Required<EventStreamLimits>;
  #nextId = 1;
  #closed = false;
  #dropped = 0;

  /** Answers with the stream's headers at once. `onClose` is called once, whoever ends the stream. */
  constructor(response: ServerResponse, onClose: () => void, limits: EventStreamLimits = {}) {
    this.#response = response;
    this.#limits = { progressBytes: 64 * 1024, milestoneBytes: 256 * 1024, drainMs: 10_000, ...limits };
    response.once("close", () => {
      this.#closed = true;
      onClose();
    });
    response.writeHead(200, {
      "Content-Type": "text/event-stream",
      "Cache-Control": "no-cache, no-transform",
      "X-Accel-Buffering": "no",
      Connection: "close",
    });
    response.flushHeaders();
  }

  /** Whether nothing more can be sent. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Events not sent because the subscriber was too slow. */
  get dropped(): number {
    return this.#dropped;
  }

  send(event: string, data: unknown, priority: EventPriority): void {
    if (this.#closed) return;
    const limit = priority === "progress" ? this.#limits.progressBytes : this.#limits.milestoneBytes;
    if (this.#response.writableLength > limit) this.#dropped += 1;
    else this.#write(event, data);
  }

  /** A comment that keeps proxies from closing a quiet connection. */
  heartbeat(): void {
    if (!this.#closed && this.#response.writableLength <= this.#limits.progressBytes)
      this.#response.write(": heartbeat\n\n");
  }

  /** Writes the last event, whatever is unsent, and closes. */
  end(event: string, data: unknown): void {
    if (this.#closed) return;
    this.#write(event, data);
    this.close();
  }

  /** Closes without a further event; a subscriber that does not read the rest in time is cut off. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const response = this.#response;
    const cut = setTimeout(() => response.destroy(), this.#limits.drainMs);
    response.once("close", () => clearTimeout(cut));
    response.end();
  }

  #write(event: string, data: unknown): void {
    this.#response.write(`id: ${this.#nextId++}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }
}
