/**
 * Keeps a thread from being ended inside ONNX Runtime: `onnxruntime-node` throws from C++ when its thread is
 * terminated (or the process exits) during a call, and that aborts the whole process. One word of shared memory
 * says whether the thread is inside and whether it may still enter; whoever wants to end it shuts the gate first.
 */

const INSIDE = 1;
const SHUT = 2;

export class NativeGate {
  /** Post this to the other thread and build a gate on it there. */
  readonly memory: SharedArrayBuffer;
  readonly #word: Int32Array<SharedArrayBuffer>;

  constructor(memory = new SharedArrayBuffer(4)) {
    this.memory = memory;
    this.#word = new Int32Array(memory);
  }

  /** Runs `call` inside the gate. @throws {Error} when the gate is shut */
  async through<T>(call: () => Promise<T>): Promise<T> {
    if (Atomics.or(this.#word, 0, INSIDE) & SHUT) {
      this.#leave();
      throw new Error("the thread is being stopped");
    }
    try {
      return await call();
    } finally {
      this.#leave();
    }
  }

  /** From now on nothing enters. Gives whether the thread is outside, so that it can be ended at once. */
  shut(): boolean {
    return (Atomics.or(this.#word, 0, SHUT) & INSIDE) === 0;
  }

  get isShut(): boolean {
    return (Atomics.load(this.#word, 0) & SHUT) !== 0;
  }

  /** Blocks until the thread is outside, at most `timeoutMs`; only for a process that is exiting. */
  waitUntilOutside(timeoutMs: number): void {
    const giveUpAt = performance.now() + timeoutMs;
    for (let leftMs = timeoutMs; leftMs > 0; leftMs = giveUpAt - performance.now()) {
      const word = Atomics.load(this.#word, 0);
      if ((word & INSIDE) === 0) return;
      Atomics.wait(this.#word, 0, word, leftMs);
    }
  }

  #leave(): void {
    Atomics.and(this.#word, 0, ~INSIDE);
    Atomics.notify(this.#word, 0);
  }
}
