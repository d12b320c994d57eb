import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import { randomStream } from "../../test/fixtures/onnx-models.ts";
import {
  CancelledError,
  DeadlineExceededError,
  ExecutionError,
  errorType,
  InvalidInputError,
  QueueFullError,
  WorkerCrashedError,
} from "../errors.ts";
import type { PredictRequest, PredictResponse } from "../protocol/inference.ts";
import type { Canary } from "../protocol/models.ts";
import type { SubmitOptions } from "./batcher.ts";
import { CanaryTrial } from "./canary-trial.ts";
import type { ReadyVersion } from "./served-model.ts";

const [production, canary, next] = [1, 2, 3].map((number) => ({
  name: { model: "m", version: String(number) },
  number,
})) as [ReadyVersion, ReadyVersion, ReadyVersion];
const request: PredictRequest = { model: "m", inputs: [] };
const poisoned = new ExecutionError("Model 'm'", "out of range");
const refused = new InvalidInputError({ field: "x", received: "1", expected: "2" });

type Outcome = { tookMs?: number; error?: Error; cached?: boolean };

let clock: FakeClock;
/** What each version does next; the last of it goes on. */
let script: Record<string, Outcome[]>;
let ran: { version: string; deadlineMs: number | undefined }[];
let failures: string[];
let counted: string[];

beforeEach(() => {
  clock = new FakeClock();
  script = { 1: [{}], 2: [{}], 3: [{}] };
  ran = [];
  failures = [];
  counted = [];
});

async function run(
  { name: { version } }: ReadyVersion,
  _: PredictRequest,
  { deadlineMs }: SubmitOptions,
): Promise<PredictResponse> {
  const {
    tookMs = 1,
    error,
    cached = false,
  } = script[version]!.length > 1 ? script[version]!.shift()! : script[version]![0]!;
  ran.push({ version, deadlineMs });
  clock.skip(tookMs);
  if (error) throw error;
  return { model: "m", version, outputs: [], cached };
}

const trialOf = (settings: Partial<Canary> = {}) =>
  new CanaryTrial({
    model: "m",
    canary: {
      version: 2,
      weight: 0.5,
      bounds: { errorRate: 0.1, latencyRatio: 2, minRequests: 10 },
      ...settings,
    },
    clock,
    random: randomStream(5),
    metrics: {
      increment: (name, labels) => void counted.push([name, ...Object.values(labels ?? {})].join(" ")),
      set() {},
      observe() {},
    },
    run,
    onFailed: (cause, reason) => void failures.push(`${cause}: ${reason}`),
  });

async function ask(trial: CanaryTrial, times = 1, options: SubmitOptions = {}): Promise<string[]> {
  const answers: string[] = [];
  for (let n = 0; n < times; n++)
    answers.push(
      await trial
        .answer(canary, () => production, request, { deadlineMs: 1000, ...options })
        .then(({ version }) => version, errorType),
    );
  return answers;
}

test("gives the canary's answers, counts them and finds nothing against it", async () => {
  const trial = trialOf();
  expect(trial.draws(production, undefined)).toBe(false);
  expect(new Set(await ask(trial, 100))).toEqual(new Set(["2"]));
  for (let n = 0; n < 100; n++) trial.productionAnswered(1);
  expect(trial.report()).toMatchObject({
    version: 2,
    weight: 0.5,
    requests: 100,
    failures: 0,
    answeredByProduction: 0,
    recent: { canary: { requests: 100, failures: 0 }, production: { requests: 100, failures: 0 } },
    rollBack: "",
  });
  expect(failures).toEqual([]);
  expect(new Set(counted)).toEqual(new Set(["moiety.rollout.canary.requests m ok"]));
});

test("lets production answer what the canary fails at, in the time that is left", async () => {
  script[2] = [{ error: poisoned, tookMs: 300 }, {}];
  const trial = trialOf();
  expect(await ask(trial, 2)).toEqual(["1", "2"]);
  expect(ran).toEqual([
    { version: "2", deadlineMs: 1000 },
    { version: "1", deadlineMs: 700 },
    { version: "2", deadlineMs: 1000 },
  ]);
  expect(trial.report()).toMatchObject({ requests: 2, failures: 1, answeredByProduction: 1 });
});

test("takes the canary back once, for good, when too many fail, and says how many", async () => {
  script[2] = [{ error: poisoned }];
  const trial = trialOf({ weight: 1 });
  expect(trial.draws(production, undefined)).toBe(true);
  for (let n = 0; n < 30; n++) trial.productionAnswered(1);
  expect(await ask(trial, 9)).toEqual(Array(9).fill("1"));
  expect(failures).toEqual([]);
  expect(trial.draws(production, "key")).toBe(true);
  await ask(trial, 5);
  expect(failures).toEqual([
    "errorRate: 10 of 10 requests (100%) failed, more than the 10% allowed; of production's, 0 of 30 requests (0%)",
  ]);
  expect(trial.draws(production, undefined)).toBe(false);
  expect(trial.draws(production, "key")).toBe(false);
});

test("takes a slow canary back", async () => {
  script[2] = [{ tookMs: 21 }];
  const trial = trialOf();
  trial.draws(production, "key");
  for (let n = 0; n < 10; n++) trial.productionAnswered(10);
  await ask(trial, 10);
  expect(failures).toEqual([expect.stringMatching(/^latency: 95% of 10 requests took up to 21/)]);
});

test("does not count against the canary what production fails at in the same way", async () => {
  script[2] = [{ error: poisoned }];
  script[1] = [{ error: poisoned }];
  const trial = trialOf();
  expect(new Set(await ask(trial, 50))).toEqual(new Set(["EXECUTION_FAILED"]));
  expect(trial.report()).toMatchObject({ failures: 0, recent: { canary: { requests: 0 } } });
  expect(failures).toEqual([]);
});

test("counts an input that production takes and the canary refuses, and not one that both refuse", async () => {
  script[2] = [{ error: refused }];
  script[1] = [{}, {}, { error: refused }];
  const trial = trialOf();
  expect(await ask(trial, 3)).toEqual(["1", "1", "INVALID_INPUT"]);
  expect(trial.report()).toMatchObject({ requests: 3, failures: 2, answeredByProduction: 2 });
});

test.each([
  ["a full queue", new QueueFullError("m", 1), 1, "1", 0],
  ["a crash", new WorkerCrashedError("w1", "exit"), 1, "1", 1],
  ["something unknown", new TypeError("x is undefined"), 1, "1", 1],
  ["a run that did not end in time", new DeadlineExceededError("run", 900), 900, "1", 1],
  ["a deadline, with no time left", new DeadlineExceededError("m", 1000), 1000, "DEADLINE_EXCEEDED", 1],
  ["a caller that left", new CancelledError("m"), 1, "CANCELLED", 0],
])("answers %s", async (_, error, tookMs, answer, blamed) => {
  script[2] = [{ error, tookMs }];
  const trial = trialOf();
  expect(await ask(trial)).toEqual([answer]);
  expect(trial.report()).toMatchObject({ requests: 1, failures: blamed });
});

test("asks the version that is in production by then", async () => {
  script[2] = [{ error: poisoned }];
  script[3] = [{}];
  let now = production;
  const answered = trialOf().answer(canary, () => now, request, {});
  now = next;
  expect((await answered).version).toBe("3");
});

test("asks production nothing for a caller that has left, or whose time is up", async () => {
  script[2] = [{ error: poisoned, tookMs: 1000 }];
  const trial = trialOf();
  expect(await ask(trial)).toEqual(["EXECUTION_FAILED"]);
  expect(await ask(trial, 1, { signal: AbortSignal.abort() })).toEqual(["EXECUTION_FAILED"]);
  expect(ran.map(({ version }) => version)).toEqual(["2", "2"]);
  expect(trial.report().failures).toBe(1);
});

test("judges by what was computed: a cached answer says nothing about the canary", async () => {
  script[2] = [{ cached: true }];
  const trial = trialOf();
  await ask(trial, 50);
  expect(trial.report()).toMatchObject({ requests: 50, recent: { canary: { requests: 0 } } });
});

test("counts production's own faults, and not its clients'", () => {
  const trial = trialOf();
  trial.draws(production, "key");
  for (const error of [poisoned, refused, new QueueFullError("m", 1), new DeadlineExceededError("m", 1)])
    trial.productionFailed(error);
  expect(trial.report().recent.production).toEqual({ requests: 2, failures: 2, p95Ms: null });
});

test("begins to compare anew when production moves to another version", async () => {
  const trial = trialOf();
  trial.draws(production, "key");
  await ask(trial, 5);
  trial.productionAnswered(1);
  trial.draws(next, "key");
  expect(trial.report().recent).toMatchObject({ canary: { requests: 0 }, production: { requests: 0 } });
  expect(trial.report().requests).toBe(5);
});

test("of many requests each is answered by one version, and none is lost", async () => {
  const random = randomStream(11);
  script[2] = Array.from({ length: 5001 }, () => (random() < 0.3 ? { error: poisoned } : {}));
  const trial = trialOf({ bounds: {} });
  const answers: Record<string, number> = {};
  for (let n = 0; n < 10_000; n++) {
    const version = trial.draws(production, undefined) ? (await ask(trial))[0]! : "production's own";
    answers[version] = (answers[version] ?? 0) + 1;
  }
  const { requests, failures: failed, answeredByProduction } = trial.report();
  expect(answers).toEqual({
    "production's own": 10_000 - requests,
    "1": answeredByProduction,
    "2": requests - failed,
  });
  expect(failed).toBe(answeredByProduction);
});
