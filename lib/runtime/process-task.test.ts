/** A task's process: what it gives, how it fails, and that it always ends. */

import { until } from "../../test/fixtures/eventually.ts";
import type { ProcessScript } from "../../test/fixtures/scripted-process.ts";
import { type ProcessTaskOptions, runProcessTask } from "./process-task.ts";

const ENTRY = new URL("../../test/fixtures/scripted-process.ts", import.meta.url);

const run = (script: ProcessScript, options: Partial<ProcessTaskOptions> = {}) =>
  runProcessTask<ProcessScript, unknown>(ENTRY, script, {
    name: "the task",
    signal: new AbortController().signal,
    timeoutMs: 60_000,
    ...options,
  });

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("gives what its handler returns, typed arrays included, and has ended by then", async () => {
  const value = { list: [1, "two", null], weights: Float32Array.of(0.5, -0) };
  expect(await run({ do: "echo", value })).toEqual(value);
  const pid = (await run({ do: "tell my id" })) as number;
  expect(pid).not.toBe(process.pid);
  expect(isAlive(pid)).toBe(false);
});

test("throws what its handler throws, with type and facts", async () => {
  await expect(run({ do: "throw known" })).rejects.toMatchObject({
    type: "DATASET_CORRUPT",
    code: 422,
    data: { received: "3 bytes" },
  });
});

test.each([
  [{ do: "abort" }, "signal SIGABRT"],
  [{ do: "exit", code: 3 }, "exit code 3"],
  [{ do: "throw later" }, "exit code 1"],
] as const)("a process that ends by itself is told of: %j", async (script, how) => {
  await expect(run(script)).rejects.toMatchObject({
    type: "WORKER_CRASHED",
    message: expect.stringContaining(how),
  });
});

test("one that hangs is killed at its deadline, or when nobody waits any more", async () => {
  await expect(run({ do: "hang" }, { timeoutMs: 200 })).rejects.toMatchObject({ type: "DEADLINE_EXCEEDED" });
  const abort = new AbortController();
  const hanging = run({ do: "hang" }, { signal: abort.signal });
  let isOver = false;
  hanging.catch(() => {}).then(() => (isOver = true));
  abort.abort();
  await expect(hanging).rejects.toMatchObject({ type: "CANCELLED" });
  await until(() => isOver);
  await expect(run({ do: "echo", value: 1 }, { signal: abort.signal })).rejects.toMatchObject({
    type: "CANCELLED",
  });
});

test("a payload that cannot be sent is refused", async () => {
  await expect(run({ do: "echo", value: () => 1 })).rejects.toThrow();
});
