/** A warm thread: every question has its own answer, whatever becomes of the others and of the thread. */

import { eventually, settled, until } from "../../test/fixtures/eventually.ts";
import type { Question } from "../../test/fixtures/scripted-questions.ts";
import { InvalidInputError } from "../errors.ts";
import { WarmThread, type WarmThreadOptions } from "./warm-thread.ts";

const ENTRY = new URL("../../test/fixtures/scripted-questions.ts", import.meta.url);
/** Longer than any answer here takes, however busy the machine is. */
const LONG_MS = 300_000;

let threads: WarmThread<Question, unknown>[];
beforeEach(() => {
  threads = [];
});
afterEach(() => Promise.all(threads.map((thread) => thread.close())));

function warm(options: Partial<WarmThreadOptions> = {}, entry = ENTRY): WarmThread<Question, unknown> {
  const thread = new WarmThread<Question, unknown>(entry, {
    name: "the thread",
    maxWaiting: 4,
    timeoutMs: LONG_MS,
    ...options,
  });
  threads.push(thread);
  return thread;
}

type Failure = Error & { type?: string; code?: number; retryable?: boolean; data?: unknown };

const failureOf = (promise: Promise<unknown>): Promise<Failure> =>
  settled(promise).then(
    () => Promise.reject(new Error("it did not fail")),
    (error: Failure) => error,
  );

/** A question that has begun and does not end. */
async function hanging(thread: WarmThread<Question, unknown>): Promise<Promise<unknown>[]> {
  const begun = new Int32Array(new SharedArrayBuffer(4));
  const answer = thread.ask({ do: "hang", begun });
  answer.catch(() => {});
  await until(() => Atomics.load(begun, 0) === 1);
  return [answer];
}

test("answers every question with its own answer, from one thread", async () => {
  const thread = warm({ maxWaiting: 100 });
  const values = Array.from({ length: 50 }, (_, i) => ({ i, list: [Number.NaN, undefined] }));
  expect(await Promise.all(values.map((value) => thread.ask({ do: "echo", value })))).toEqual(values);
  const first = await thread.ask({ do: "name thread" });
  expect(await thread.ask({ do: "name thread" })).toBe(first);
});

test("fails with name, type, code, data and message of what was thrown, and goes on", async () => {
  const thread = warm();
  const known = new InvalidInputError({ field: "a", received: "b", expected: "c" });
  const { name, type, code, retryable, data, message } = await failureOf(thread.ask({ do: "throw known" }));
  expect({ name, type, code, retryable, data, message }).toEqual({
    name: "InvalidInputError",
    type: known.type,
    code: 400,
    retryable: false,
    data: known.data,
    message: known.message,
  });
  expect(await failureOf(thread.ask({ do: "throw unknown" }))).toMatchObject({
    type: "EXECUTION_FAILED",
    message: "out of reach",
  });
  expect((await failureOf(thread.ask({ do: "answer what cannot be sent" }))).type).toBe("EXECUTION_FAILED");
  expect(await thread.ask({ do: "echo", value: 1 })).toBe(1);
});

test("refuses a question that cannot be copied, and answers those around it", async () => {
  const thread = warm();
  const [before, odd, after] = await Promise.allSettled([
    thread.ask({ do: "echo", value: 1 }),
    thread.ask({ do: "echo", value: () => 1 }),
    thread.ask({ do: "echo", value: 2 }),
  ]);
  expect(before).toMatchObject({ value: 1 });
  expect(odd).toMatchObject({ status: "rejected", reason: { name: "DataCloneError" } });
  expect(after).toMatchObject({ value: 2 });
});

test("lets a bounded number wait, and refuses the rest", async () => {
  const thread = warm({ maxWaiting: 2 });
  const [hung] = await hanging(thread);
  const waiting = [1, 2].map((value) => thread.ask({ do: "echo", value }));
  expect(await failureOf(thread.ask({ do: "echo", value: 3 }))).toMatchObject({
    type: "QUEUE_FULL",
    data: { queue: "the thread", maxSize: 2 },
  });
  const outcomes = Promise.allSettled([hung, ...waiting]);
  await settled(thread.close());
  for (const outcome of await outcomes)
    expect(outcome).toMatchObject({ reason: { type: "DRAINING", retryable: true } });
});

test("that dies fails the question it was at; the others are answered by the next", async () => {
  const thread = warm();
  const first = await thread.ask({ do: "name thread" });
  const dying = failureOf(thread.ask({ do: "exit", code: 7 }));
  const next = thread.ask({ do: "name thread" });
  expect(await dying).toMatchObject({ type: "WORKER_CRASHED", data: { reason: "exit code 7" } });
  expect(await settled(next)).not.toBe(first);
});

test("that hangs is ended at the deadline, as is what waits behind it; the next thread answers", async () => {
  const thread = warm({ timeoutMs: 3000 });
  // The deadline counts from the question, so the thread is there before it is asked.
  await settled(thread.ask({ do: "echo", value: 0 })).catch(() => {});
  const begun = new Int32Array(new SharedArrayBuffer(4));
  const hung = failureOf(thread.ask({ do: "hang", begun }));
  const late = failureOf(thread.ask({ do: "hang", begun }));
  expect(await hung).toMatchObject({ type: "DEADLINE_EXCEEDED", data: { timeoutMs: 3000 } });
  expect(await late).toMatchObject({ type: "DEADLINE_EXCEEDED" });
  expect(await eventually(() => thread.ask({ do: "echo", value: 1 }) as Promise<number>)).toBe(1);
});

test("whose entry does not load fails every question, without end", async () => {
  const thread = warm({}, new URL("./no-such-entry.ts", import.meta.url));
  for (let i = 0; i < 2; i++)
    expect(await failureOf(thread.ask({ do: "name thread" }))).toMatchObject({ type: "WORKER_CRASHED" });
});

test("takes no question once it is closed, twice as well as once", async () => {
  const thread = warm();
  await thread.close();
  await thread.close();
  expect(await failureOf(thread.ask({ do: "name thread" }))).toMatchObject({ type: "DRAINING" });
});
