/** A task's thread: what it gives, how it fails, and that it always ends. */

import { settled } from "../../test/fixtures/eventually.ts";
import type { Script } from "../../test/fixtures/scripted-task.ts";
import { runTask, type TaskOptions } from "./task.ts";
import { TaskGroup } from "./task-group.ts";

const ENTRY = new URL("../../test/fixtures/scripted-task.ts", import.meta.url);

const run = (script: Script, options: Partial<TaskOptions<unknown>> = {}) =>
  runTask<Script, unknown, unknown>(ENTRY, script, { name: "the task", ...options });

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

type Failure = Error & { type?: string; code?: number; retryable?: boolean; data?: unknown };

const failureOf = (promise: Promise<unknown>): Promise<Failure> =>
  promise.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: Failure) => error,
  );

/** Runs a script that notes when it has begun; gives a promise of that, too. */
function begun(script: Script, options: Partial<TaskOptions<unknown>> = {}) {
  const started = Promise.withResolvers<void>();
  const result = run(script, { ...options, onNote: () => started.resolve() });
  result.catch(() => {});
  return { result, started: started.promise };
}

describe("a task", () => {
  test("gives what its handler returns, typed arrays included", async () => {
    const value = { list: [1, "two", null], weights: Float32Array.of(0.5, -0) };
    expect(await run({ do: "echo", value })).toEqual(value);
    expect(await run({ do: "echo", value: undefined })).toBeUndefined();
  });

  test("passes every note on, in order, before its result", async () => {
    const heard: unknown[] = [];
    const notes = Array.from({ length: 500 }, (_, i) => ({ step: i }));
    expect(await run({ do: "note", notes }, { onNote: (note) => heard.push(note) })).toBe(500);
    expect(heard).toEqual(notes);
  });

  test("fails with type, code, data and message of what was thrown", async () => {
    const { type, code, retryable, data, message } = await failureOf(run({ do: "throw known" }));
    expect({ type, code, retryable, data, message }).toEqual({
      type: "DATASET_CORRUPT",
      code: 422,
      retryable: false,
      data: { file: "/data/x", received: "3 bytes", expected: "4" },
      message: "Data file '/data/x' is corrupt: received 3 bytes, expected 4",
    });
  });

  test("fails as an execution when something unforeseen was thrown", async () => {
    expect(await failureOf(run({ do: "throw unknown" }))).toMatchObject({
      type: "EXECUTION_FAILED",
      message: "out of reach",
    });
    expect(await failureOf(run({ do: "throw text" }))).toMatchObject({ message: "only words" });
  });

  test("that ends its thread, or whose thread crashes, fails as a crashed worker", async () => {
    for (const code of [0, 7]) {
      const error = await failureOf(run({ do: "exit", code }));
      expect(error).toMatchObject({ type: "WORKER_CRASHED", retryable: true });
      expect(error.message).toContain(`exit code ${code}`);
    }
    const error = await failureOf(run({ do: "crash later" }));
    expect(error).toMatchObject({ type: "WORKER_CRASHED", data: { worker: "the task" } });
    expect(error.message).toContain("nobody catches this");
  });

  test("whose entry does not load fails as a crashed worker", async () => {
    const nowhere = runTask(new URL("./no-such-entry.ts", import.meta.url), {}, { name: "the task" });
    expect(await failureOf(nowhere)).toMatchObject({ type: "WORKER_CRASHED" });
  });

  test("that answers what cannot be sent fails instead of hanging", async () => {
    expect(await failureOf(run({ do: "answer what cannot be sent" }))).toMatchObject({
      type: "WORKER_CRASHED",
    });
  });

  test("that is cancelled stops by itself, within a step", async () => {
    const controller = new AbortController();
    // It works for ever, and nobody would end it within the hour.
    const result = run({ do: "work", stepMs: 10 }, { signal: controller.signal, graceMs: 3_600_000 });
    result.catch(() => {});
    await wait(300);
    controller.abort();
    expect(await failureOf(settled(result))).toMatchObject({ type: "CANCELLED" });
  });

  test("that is cancelled passes no more notes on", async () => {
    const controller = new AbortController();
    const heard: unknown[] = [];
    const result = run(
      { do: "work", stepMs: 10 },
      { signal: controller.signal, onNote: (note) => heard.push(note) },
    );
    setTimeout(() => controller.abort(), 200);
    await failureOf(result);
    expect(heard).toEqual([]);
  });

  test("is not begun when it is cancelled already", async () => {
    expect(await failureOf(run({ do: "hang" }, { signal: AbortSignal.abort() }))).toMatchObject({
      type: "CANCELLED",
    });
  });

  test("that does not stop by itself is ended after the grace period", async () => {
    const controller = new AbortController();
    const { result, started } = begun({ do: "hang" }, { signal: controller.signal, graceMs: 300 });
    await started;
    const cancelledAt = performance.now();
    controller.abort();
    expect(await failureOf(result)).toMatchObject({ type: "CANCELLED" });
    expect(performance.now() - cancelledAt).toBeGreaterThanOrEqual(290);
  });

  test("inside ONNX Runtime is ended when it comes out, and the process lives on", async () => {
    const controller = new AbortController();
    const { result, started } = begun({ do: "compute" }, { signal: controller.signal, graceMs: 10 });
    await started;
    await wait(100);
    controller.abort();
    expect(await failureOf(result)).toMatchObject({ type: "CANCELLED" });
  });

  test("that takes too long fails with the deadline", async () => {
    const late = run({ do: "work", stepMs: 10 }, { timeoutMs: 200 });
    expect(await failureOf(late)).toMatchObject({ type: "DEADLINE_EXCEEDED", data: { timeoutMs: 200 } });
  });

  test("that leaves something open gives its result all the same", async () => {
    expect(await run({ do: "linger", value: 5 }, { graceMs: 50 })).toBe(5);
  });

  test("leaves no listeners behind", async () => {
    const controller = new AbortController();
    const before = process.listenerCount("exit");
    for (let i = 0; i < 12; i++) await run({ do: "echo", value: i }, { signal: controller.signal });
    expect(process.listenerCount("exit")).toBe(before);
    controller.abort();
  });
});

describe("a task group", () => {
  const MAX_RUNNING = 2;
  const MAX_WAITING = 64;
  const MINUTE = 60_000;

  test("runs two at a time, lets a bounded number wait, and refuses the rest", async () => {
    const group = new TaskGroup("group");
    const work = () => group.run<Script, unknown>(ENTRY, { do: "work", stepMs: 10 }, MINUTE);
    const accepted = Array.from({ length: MAX_RUNNING + MAX_WAITING }, work);
    const outcomes = Promise.allSettled(accepted);
    expect(await failureOf(work())).toMatchObject({ type: "QUEUE_FULL", data: { maxSize: MAX_WAITING } });
    await group.stop();
    for (const outcome of await outcomes)
      expect(outcome).toMatchObject({ status: "rejected", reason: { type: "DRAINING", retryable: true } });
    expect(await failureOf(work())).toMatchObject({ type: "DRAINING" });
  });

  test("answers every caller with its own result, also after some have failed", async () => {
    const group = new TaskGroup("group");
    const outcomes = await Promise.allSettled(
      Array.from({ length: 8 }, (_, i) =>
        group.run<Script, unknown>(ENTRY, i % 2 ? { do: "echo", value: i } : { do: "throw known" }, MINUTE),
      ),
    );
    for (const [i, outcome] of outcomes.entries())
      expect(outcome).toMatchObject(
        i % 2 ? { status: "fulfilled", value: i } : { reason: { type: "DATASET_CORRUPT" } },
      );
    await group.stop();
  });

  test("gives a task its deadline from when it begins", async () => {
    const group = new TaskGroup("group");
    const late = group.run<Script, unknown>(ENTRY, { do: "work", stepMs: 10 }, 200);
    expect(await failureOf(late)).toMatchObject({ type: "DEADLINE_EXCEEDED" });
    await group.stop();
  });

  test("that is idle stops at once, twice as well as once", async () => {
    const group = new TaskGroup("group");
    await group.stop();
    await group.stop();
  });
});
