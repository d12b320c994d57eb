/** Time as serving code sees it, so that tests can drive it. */

export type Timer = { cancel(): void };

export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back. */
  now(): number;
  after(delayMs: number, action: () => void): Timer;
  /** Runs `action` once the events already received have been handled. */
  soon(action: () => void): void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, action) {
    const timer = setTimeout(action, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  soon: (action) => void setImmediate(action),
};
