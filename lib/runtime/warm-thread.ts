/**
 * A thread that is kept for many short questions, answered one at a time in the order they came: for work that is
 * too long for the broker's event loop and too short to start a thread for it.
 *
 * Caller: `new WarmThread(entry, …).ask(question)`. Thread: `serveQuestions(handler)` in the entry module, which must
 * not call native code, because the thread is terminated wherever it is. A thread that misses a deadline is ended with
 * the question it hung on, and one that died is replaced when the next question comes. Refuses what exceeds the
 * queue, and everything once it is closed.
 */

import { isMainThread, parentPort, Worker } from "node:worker_threads";
import {
  DeadlineExceededError,
  DrainingError,
  errorMessage,
  QueueFullError,
  WorkerCrashedError,
} from "../errors.ts";
import { type FlatError, flattenError, reviveError } from "./flat-error.ts";

type Reply<Answer> = { kind: "answered"; answer: Answer } | { kind: "failed"; error: FlatError };

type Asked<Question, Answer> = {
  question: Question;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
  deadline: NodeJS.Timeout;
};

export type WarmThreadOptions = {
  /** Names the thread in errors. */
  name: string;
  /** Questions that may wait while one is answered. */
  maxWaiting: number;
  /** From asking to the answer, waiting included. */
  timeoutMs: number;
};

export class WarmThread<Question, Answer> {
  readonly #entry: URL;
  readonly #options: WarmThreadOptions;
  readonly #waiting: Asked<Question, Answer>[] = [];
  readonly #ending = new Set<Promise<unknown>>();
  #current: Asked<Question, Answer> | undefined;
  #thread: Worker | undefined;
  #closed = false;

  /** Starts the thread, so that the first question need not wait for it. */
  constructor(entry: URL, options: WarmThreadOptions) {
    this.#entry = entry;
    this.#options = options;
    this.#thread = this.#start();
  }

  /**
   * What the entry's handler answers. The question is copied.
   * @throws what the handler threw (with its `type`), {QueueFullError}, {DeadlineExceededError},
   * {WorkerCrashedError}, {DrainingError}, and a `DataCloneError` for a question that cannot be copied
   */
  ask(question: Question): Promise<Answer> {
    const { name, maxWaiting, timeoutMs } = this.#options;
    if (this.#closed) return Promise.reject(new DrainingError(name));
    if (this.#waiting.length >= maxWaiting) return Promise.reject(new QueueFullError(name, maxWaiting));
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => this.#expire(asked), timeoutMs);
      const asked: Asked<Question, Answer> = { question, resolve, reject, deadline };
      this.#waiting.push(asked);
      this.#next();
    });
  }

  /** Ends the thread; what is asked and not answered is refused as draining. */
  async close(): Promise<void> {
    this.#closed = true;
    const { name } = this.#options;
    const open = [...(this.#current ? [this.#current] : []), ...this.#waiting.splice(0)];
    this.#current = undefined;
    this.#discard();
    for (const asked of open) settle(asked, () => asked.reject(new DrainingError(name)));
    await Promise.all(this.#ending);
  }

  #next(): void {
    while (!this.#current && !this.#closed) {
      const asked = this.#waiting.shift();
      if (!asked) return;
      this.#thread ??= this.#start();
      const thread = this.#thread;
      try {
        thread.postMessage(asked.question);
      } catch (error) {
        settle(asked, () => asked.reject(error));
        continue;
      }
      this.#current = asked;
      // Only a thread that owes an answer keeps the process.
      thread.ref();
    }
  }

  #start(): Worker {
    const thread = new Worker(this.#entry, { name: this.#options.name });
    thread.unref();
    thread.on("message", (reply: Reply<Answer>) => this.#receive(thread, reply));
    thread.on("error", (error) => this.#lose(thread, errorMessage(error)));
    thread.on("exit", (code) => this.#lose(thread, `exit code ${code}`));
    return thread;
  }

  #receive(thread: Worker, reply: Reply<Answer>): void {
    if (thread !== this.#thread) return;
    thread.unref();
    this.#settleCurrent((asked) => {
      if (reply.kind === "answered") asked.resolve(reply.answer);
      else asked.reject(reviveError(reply.error));
    });
    this.#next();
  }

  #lose(thread: Worker, reason: string): void {
    if (thread !== this.#thread) return;
    this.#thread = undefined;
    this.#settleCurrent((asked) => asked.reject(new WorkerCrashedError(this.#options.name, reason)));
    this.#next();
  }

  #expire(asked: Asked<Question, Answer>): void {
    const { name, timeoutMs } = this.#options;
    const late = new DeadlineExceededError(name, timeoutMs);
    if (this.#current === asked) {
      this.#discard();
      this.#settleCurrent(({ reject }) => reject(late));
      this.#next();
      return;
    }
    const at = this.#waiting.indexOf(asked);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    asked.reject(late);
  }

  #settleCurrent(how: (asked: Asked<Question, Answer>) => void): void {
    const asked = this.#current;
    this.#current = undefined;
    if (asked) settle(asked, () => how(asked));
  }

  /** Ends the thread, wherever it is. */
  #discard(): void {
    const thread = this.#thread;
    this.#thread = undefined;
    if (!thread) return;
    const gone = thread.terminate().finally(() => this.#ending.delete(gone));
    this.#ending.add(gone);
  }
}

function settle({ deadline }: { deadline: NodeJS.Timeout }, how: () => void): void {
  clearTimeout(deadline);
  how();
}

/** In an entry module: answers every question with what `handler` gives for it. */
export function serveQuestions<Question, Answer>(handler: (question: Question) => Answer): void {
  const port = parentPort;
  if (isMainThread || !port) throw new Error("serveQuestions runs in a thread started by WarmThread");
  port.on("message", (question: Question) => {
    try {
      port.postMessage({ kind: "answered", answer: handler(question) } satisfies Reply<Answer>);
    } catch (error) {
      const failed: Reply<Answer> = { kind: "failed", error: flattenError(error, "EXECUTION_FAILED") };
      port.postMessage(failed);
    }
  });
}
