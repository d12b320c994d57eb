/**
 * Lines appended to a file, or to standard output, without holding the event loop: they are gathered, and written by
 * libuv's threads, one write at a time. What waits is bounded; while the disk is too slow, lines are dropped and counted,
 * never waited for. A file that has been moved or removed is opened again under its name, at once when told to (`reopen`,
 * for SIGHUP), else at the next look.
 */

import { constants, write as writeWithCallback } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

const writeTo = promisify(writeWithCallback);

export type LineLogOptions = {
  /** A file; "-" for standard output. */
  target: string;
  /** Most characters that wait to be written. @default 4 Mi */
  maxWaiting?: number;
  /** Hears of lines that were not written, and why: they came too fast, or writing failed. */
  onDropped: (lines: number, cause: "slow" | "failed") => void;
  /** Hears when writing begins to fail. */
  onFailure: (error: unknown) => void;
};

/** Longest time that a line waits for others. */
const GATHER_MS = 100;
/** So much is written without waiting for more. */
const FULL_CHARACTERS = 64 * 1024;
const MAX_WAITING = 4 * 2 ** 20;
const STANDARD_OUTPUT = 1;
/** How often a file is looked for under its name. */
const LOOK_MS = 1_000;
/** A pipe whose reader is behind is tried again. */
const FULL_PIPE_MS = 20;
/** Longest time that closing waits for what is left. */
const CLOSE_MS = 2_000;

export class LineLog {
  readonly #options: LineLogOptions;
  readonly #maxWaiting: number;
  #text = "";
  #lines = 0;
  /** Of what is being written. */
  #leaving = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #file: FileHandle | undefined;
  #lookedAt = 0;
  #failing = false;
  #closed = false;

  constructor(options: LineLogOptions) {
    this.#options = options;
    this.#maxWaiting = options.maxWaiting ?? MAX_WAITING;
  }

  /** @throws what opening the file throws */
  async open(): Promise<void> {
    await this.#reopen();
  }

  /** @param line without its line feed */
  write(line: string): void {
    if (this.#closed) return;
    if (this.#text.length + line.length >= this.#maxWaiting) {
      this.#options.onDropped(1, "slow");
      return;
    }
    this.#text += `${line}\n`;
    this.#lines++;
    if (this.#text.length >= FULL_CHARACTERS) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), GATHER_MS).unref();
  }

  /** Goes on in the file that is to be found under the name: it has been moved away. */
  reopen(): void {
    this.#lookedAt = Number.NEGATIVE_INFINITY;
    this.#flush();
  }

  /** Writes what is left, within a bounded time. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#flush();
    await Promise.race([this.#writing, delay(CLOSE_MS, undefined, { ref: false })]);
    const left = this.#lines + this.#leaving;
    if (left > 0) this.#options.onDropped(left, "slow");
    this.#text = "";
    this.#lines = this.#leaving = 0;
    // Closing waits for a write that does not end.
    const closed = this.#file?.close().catch(() => {});
    if (!this.#writing) await closed;
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing ??= this.#writeAll();
  }

  /** Never rejects. */
  async #writeAll(): Promise<void> {
    do {
      const bytes = Buffer.from(this.#text);
      this.#leaving = this.#lines;
      this.#text = "";
      this.#lines = 0;
      try {
        await this.#look();
        await this.#writeBytes(bytes);
        this.#failing = false;
      } catch (error) {
        if (this.#leaving > 0) this.#options.onDropped(this.#leaving, "failed");
        if (!this.#failing) this.#options.onFailure(error);
        this.#failing = true;
      }
      this.#leaving = 0;
    } while (this.#text.length >= FULL_CHARACTERS || (this.#closed && this.#lines > 0));
    this.#writing = undefined;
    // What has come meanwhile may have no timer: `#flush` found this writing.
    if (this.#lines > 0) this.#timer ??= setTimeout(() => this.#flush(), GATHER_MS).unref();
  }

  async #writeBytes(bytes: Buffer): Promise<void> {
    const file = this.#file;
    for (let at = 0; at < bytes.length; ) {
      try {
        const written = file ? file.write(bytes, at) : writeTo(STANDARD_OUTPUT, bytes, at);
        at += (await written).bytesWritten;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
        await delay(FULL_PIPE_MS);
      }
    }
  }

  /** Opens the file again if it is no longer the one under its name. */
  async #look(): Promise<void> {
    const { target } = this.#options;
    const now = performance.now();
    if (target === "-" || now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    const [there, own] = await Promise.all([stat(target).catch(() => undefined), this.#file?.stat()]);
    if (there === undefined || there.ino !== own?.ino || there.dev !== own.dev) await this.#reopen();
  }

  async #reopen(): Promise<void> {
    const { target } = this.#options;
    if (target === "-") return;
    const before = this.#file;
    this.#file = await open(target, constants.O_APPEND | constants.O_CREAT | constants.O_WRONLY, 0o640);
    this.#lookedAt = performance.now();
    await before?.close();
  }
}
