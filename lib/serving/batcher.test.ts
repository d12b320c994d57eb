import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import { affineModel, freeLengthModel, lookupModel, randomStream } from "../../test/fixtures/onnx-models.ts";
import { errorType } from "../errors.ts";
import { InferencePool, type ModelName } from "../runtime/worker-pool.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Batcher, type BatchPolicy, type BatchRunner } from "./batcher.ts";
import { systemClock } from "./clock.ts";

const metrics = { increment() {}, set() {}, observe() {} };
const name: ModelName = { model: "m", version: "1" };
const policy: BatchPolicy = { maxBatchRows: 4, queueDelayMs: 5, maxQueue: 8 };

const row = (...values: number[]): Tensor[] => [
  { name: "x", datatype: "FP32", shape: [1, values.length], data: new Float32Array(values) },
];
const rows = (count: number, value = 0): Tensor[] => [
  { name: "x", datatype: "FP32", shape: [count, 3], data: new Float32Array(count * 3).fill(value) },
];
const typeOf = (promise: Promise<unknown>) => promise.then(() => "ok", errorType);
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A runner whose batches end when the test says so: y = x. */
class HeldRunner implements BatchRunner {
  slots = 1;
  readonly batches: { feeds: Tensor[]; finish(): void; fail(error: Error): void }[] = [];
  readonly #listeners = new Set<() => void>();
  #running = 0;

  capacity() {
    return this.#running === 0 ? "idle" : this.#running < this.slots ? "room" : "none";
  }

  freeInMs() {
    return this.#running === 0 ? 0 : 1000;
  }

  idleWorkers() {
    return this.#running === 0 ? 1 : 0;
  }

  onRoom(listener: () => void) {
    this.#listeners.add(listener);
  }

  run(_: ModelName, feeds: () => Tensor[]): Promise<Tensor[]> {
    this.#running++;
    const made = feeds();
    return new Promise((resolve, reject) => {
      const end = (action: () => void) => () => {
        this.#running--;
        action();
        const listeners = [...this.#listeners];
        this.#listeners.clear();
        for (const listener of listeners) listener();
      };
      this.batches.push({
        feeds: made,
        finish: end(() => resolve(made)),
        fail: (error) => end(() => reject(error))(),
      });
    });
  }

  get rowCounts() {
    return this.batches.map(({ feeds }) => feeds[0]!.shape[0]);
  }
}

function heldBatcher(overrides: Partial<BatchPolicy> = {}) {
  const runner = new HeldRunner();
  const clock = new FakeClock();
  const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, 3] }];
  const model = { batchable: true, signature: { inputs: spec, outputs: spec } };
  const batcher = new Batcher({ name, model, runner, policy: { ...policy, ...overrides }, clock, metrics });
  return { runner, clock, batcher };
}

describe("priorities", () => {
  /** A batcher whose only worker is busy, and what its next batches hold: the first value of every row. */
  function busy(overrides: Partial<BatchPolicy> = {}) {
    const { runner, clock, batcher } = heldBatcher({ maxBatchRows: 2, ...overrides });
    void batcher.submit(rows(1), undefined);
    clock.turn();
    const order = async () => {
      for (let done = 0; done < runner.batches.length; done++) {
        runner.batches[done]!.finish();
        await settle();
        clock.turn();
      }
      return runner.batches
        .slice(1)
        .map(({ feeds }) => [...(feeds[0]!.data as Float32Array)].filter((_, i) => i % 3 === 0));
    };
    const ask = (value: number, priority?: number) => {
      void batcher.submit(rows(1, value), undefined, { priority });
      clock.turn();
    };
    return { ask, order };
  }

  it("go before what waits longer, first come first served among equals", async () => {
    const { ask, order } = busy();
    for (const [value, priority] of [
      [1, 3],
      [2, 3],
      [3, 1],
      [4, 2],
      [5, 1],
    ] as const)
      ask(value, priority);
    expect(await order()).toEqual([[3, 5], [4, 1], [2]]);
  });

  it("have a default in the middle, for requests that name none", async () => {
    const { ask, order } = busy({ priorityLevels: 3 });
    for (const [value, priority] of [
      [1, 3],
      [2, undefined],
      [3, 0],
      [4, 1],
    ] as const)
      ask(value, priority);
    expect(await order()).toEqual([
      [4, 2],
      [3, 1],
    ]);
  });

  it("beyond the last level are served with it", async () => {
    const { ask, order } = busy({ priorityLevels: 2, defaultPriority: 1 });
    for (const [value, priority] of [
      [1, 2],
      [2, 9],
      [3, undefined],
    ] as const)
      ask(value, priority);
    expect(await order()).toEqual([[3, 1], [2]]);
  });

  it("do not mix what may not be merged", async () => {
    const { runner, clock, batcher } = heldBatcher({ maxBatchRows: 4 });
    void batcher.submit(rows(1), undefined);
    clock.turn();
    void batcher.submit(rows(1, 1), undefined, { priority: 2 });
    void batcher.submit(rows(1, 2), ["x"], { priority: 1 });
    void batcher.submit(rows(1, 3), undefined, { priority: 2 });
    clock.turn();
    for (let i = 0; i < 3; i++) {
      runner.batches[i]!.finish();
      await settle();
      clock.turn();
    }
    expect(runner.batches.slice(1).map(({ feeds }) => feeds[0]!.data[0])).toEqual([2, 1]);
    expect(runner.rowCounts).toEqual([1, 1, 2]);
  });
});

describe("when a batch runs", () => {
  it("runs a lone request at once, without the queue delay", () => {
    const { runner, clock, batcher } = heldBatcher();
    void batcher.submit(rows(1), undefined);
    clock.turn();
    expect(runner.rowCounts).toEqual([1]);
  });

  it("merges requests that arrived in the same turn of the event loop", () => {
    const { runner, clock, batcher } = heldBatcher();
    for (let i = 0; i < 3; i++) void batcher.submit(rows(1), undefined);
    clock.turn();
    expect(runner.rowCounts).toEqual([3]);
  });

  it("holds further requests while a batch is computed, until they fill one", () => {
    const { runner, clock, batcher } = heldBatcher();
    runner.slots = 2;
    void batcher.submit(rows(1), undefined);
    clock.turn();
    for (let i = 0; i < 3; i++) void batcher.submit(rows(1), undefined);
    clock.turn();
    expect(runner.rowCounts).toEqual([1]);
    void batcher.submit(rows(1), undefined);
    clock.turn();
    expect(runner.rowCounts).toEqual([1, 4]);
  });

  it("holds them no longer than the queue delay", () => {
    const { runner, clock, batcher } = heldBatcher();
    runner.slots = 2;
    void batcher.submit(rows(1), undefined);
    clock.turn();
    void batcher.submit(rows(1), undefined);
    clock.turn();
    clock.advance(4.9);
    expect(runner.rowCounts).toEqual([1]);
    clock.advance(0.1);
    expect(runner.rowCounts).toEqual([1, 1]);
  });

  it("sends what waited as soon as a full worker has room", () => {
    const { runner, clock, batcher } = heldBatcher();
    void batcher.submit(rows(1), undefined);
    clock.turn();
    for (let i = 0; i < 6; i++) void batcher.submit(rows(1), undefined);
    clock.turn();
    clock.advance(100);
    expect(runner.rowCounts).toEqual([1]);
    runner.batches[0]!.finish();
    expect(runner.rowCounts).toEqual([1, 4]);
  });

  it("counts the rows of requests that bring several, and never splits one that fits", () => {
    const { runner, clock, batcher } = heldBatcher();
    runner.slots = 3;
    for (const count of [2, 1, 3, 1]) void batcher.submit(rows(count), undefined);
    clock.turn();
    clock.advance(5);
    expect(runner.rowCounts).toEqual([3, 4]);
  });

  it("runs a request of more rows than a batch takes in parts and joins the answer", async () => {
    const { runner, clock, batcher } = heldBatcher();
    const inputs = row(...Array.from({ length: 30 }, (_, i) => i));
    inputs[0]!.shape = [10, 3];
    const answer = batcher.submit(inputs, undefined);
    for (let part = 0; part < 3; part++) {
      clock.turn();
      runner.batches[part]!.finish();
      await settle();
    }
    expect(runner.rowCounts).toEqual([4, 4, 2]);
    expect(await answer).toEqual(inputs);
  });
});

describe("what a queue refuses", () => {
  it("answers QUEUE_FULL beyond its bound and takes requests again once there is room", async () => {
    const { runner, clock, batcher } = heldBatcher({ maxQueue: 2 });
    void batcher.submit(rows(1), undefined);
    clock.turn();
    const waiting = [batcher.submit(rows(1), undefined), batcher.submit(rows(1), undefined)];
    expect(await typeOf(batcher.submit(rows(1), undefined))).toBe("QUEUE_FULL");
    runner.batches[0]!.finish();
    await settle();
    clock.turn();
    runner.batches[1]!.finish();
    await Promise.all(waiting);
    const late = batcher.submit(rows(1), undefined);
    clock.turn();
    runner.batches[2]!.finish();
    expect(await typeOf(late)).toBe("ok");
  });

  it("says how long the queue takes, from how fast it goes", async () => {
    const { runner, clock, batcher } = heldBatcher({ maxBatchRows: 1, maxQueue: 10 });
    const refusal = () =>
      batcher.submit(rows(1), undefined).then(String, (error: { data: unknown }) => error.data);
    for (let i = 0; i < 11; i++) {
      void batcher.submit(rows(1), undefined);
      clock.turn();
    }
    // Nothing is known of its pace.
    expect(await refusal()).toMatchObject({ queue: "m", maxSize: 10, retryAfterSeconds: 1 });
    for (let i = 0; i < 4; i++) {
      clock.skip(700);
      runner.batches[i]!.finish();
      await settle();
      clock.turn();
    }
    for (let i = 0; i < 4; i++) void batcher.submit(rows(1), undefined);
    expect(await refusal()).toMatchObject({ retryAfterSeconds: 7 });
    clock.skip(600_000);
    expect(await refusal()).toMatchObject({ retryAfterSeconds: 60 });
  });

  it("answers DEADLINE_EXCEEDED in time and never runs the request", async () => {
    const { runner, clock, batcher } = heldBatcher();
    void batcher.submit(rows(1), undefined);
    clock.turn();
    const late = typeOf(batcher.submit(rows(1, 7), undefined, { deadlineMs: 3 }));
    const patient = typeOf(batcher.submit(rows(1, 8), undefined, { deadlineMs: 100 }));
    clock.advance(3);
    expect(await late).toBe("DEADLINE_EXCEEDED");
    expect(batcher.queued).toBe(1);
    runner.batches[0]!.finish();
    clock.turn();
    clock.advance(5);
    expect(runner.batches[1]!.feeds[0]!.data).toEqual(new Float32Array(3).fill(8));
    runner.batches[1]!.finish();
    expect(await patient).toBe("ok");
  });

  it("does not run what came too late while the event loop was busy, and runs the rest", async () => {
    const { runner, clock, batcher } = heldBatcher();
    const late = typeOf(batcher.submit(rows(1, 7), undefined, { deadlineMs: 3 }));
    const patient = batcher.submit(rows(1, 8), undefined, { deadlineMs: 100 });
    clock.skip(5);
    clock.turn();
    expect(await late).toBe("DEADLINE_EXCEEDED");
    expect(runner.batches.map(({ feeds }) => feeds[0]!.data[0])).toEqual([8]);
    runner.batches[0]!.finish();
    expect((await patient)[0]!.data[0]).toBe(8);
  });

  it("answers a deadline that passes while the batch is computed", async () => {
    const { runner, clock, batcher } = heldBatcher();
    const late = typeOf(batcher.submit(rows(1), undefined, { deadlineMs: 3 }));
    clock.turn();
    clock.advance(3);
    expect(await late).toBe("DEADLINE_EXCEEDED");
    runner.batches[0]!.finish();
  });

  it("takes a cancelled request out of the queue", async () => {
    const { runner, clock, batcher } = heldBatcher();
    void batcher.submit(rows(1), undefined);
    clock.turn();
    const caller = new AbortController();
    const cancelled = typeOf(batcher.submit(rows(1), undefined, { signal: caller.signal }));
    caller.abort();
    expect(await cancelled).toBe("CANCELLED");
    expect(await typeOf(batcher.submit(rows(1), undefined, { signal: caller.signal }))).toBe("CANCELLED");
    runner.batches[0]!.finish();
    clock.turn();
    clock.advance(50);
    expect(runner.rowCounts).toEqual([1]);
  });

  it("answers every waiter when a lone batch throws", async () => {
    const { runner, clock, batcher } = heldBatcher();
    const answer = typeOf(batcher.submit(rows(1), undefined));
    clock.turn();
    runner.batches[0]!.fail(Object.assign(new Error("no"), { type: "EXECUTION_FAILED" }));
    expect(await answer).toBe("EXECUTION_FAILED");
  });

  it("drains: finishes what it has, refuses what comes", async () => {
    const { runner, clock, batcher } = heldBatcher();
    const first = typeOf(batcher.submit(rows(1), undefined));
    clock.turn();
    const second = typeOf(batcher.submit(rows(1), undefined));
    const drained = batcher.drain(1000);
    expect(await typeOf(batcher.submit(rows(1), undefined))).toBe("DRAINING");
    runner.batches[0]!.finish();
    await settle();
    clock.turn();
    runner.batches[1]!.finish();
    expect([await first, await second]).toEqual(["ok", "ok"]);
    await drained;
  });

  it("answers what is left when draining takes too long", async () => {
    const { clock, batcher } = heldBatcher();
    void batcher.submit(rows(1), undefined);
    clock.turn();
    const left = typeOf(batcher.submit(rows(1), undefined));
    const drained = batcher.drain(10);
    clock.advance(10);
    await drained;
    expect(await left).toBe("DRAINING");
  });
});

describe("a queue that lets wait outside", () => {
  /** With room for one in the queue and for ten outside it, one request in work and one in the queue. */
  function full() {
    const held = heldBatcher({ maxQueue: 1, whenFull: "delay" });
    const ask = (
      value: number,
      options?: { deadlineMs?: number; priority?: number; signal?: AbortSignal },
    ) => {
      const answer = held.batcher
        .submit(rows(1, value), undefined, options)
        .then(([y]) => y!.data[0], errorType);
      held.clock.turn();
      return answer;
    };
    const first = [ask(0), ask(1)];
    const finish = async (batch: number) => {
      held.runner.batches[batch]!.finish();
      await settle();
      held.clock.turn();
    };
    return { ...held, ask, first, finish };
  }

  it("serves them in the order they came, each with its own row", async () => {
    const { runner, batcher, ask, first, finish } = full();
    const late = [2, 3, 4].map((value) => ask(value));
    expect(batcher.queued).toBe(4);
    for (let batch = 0; batch < 5; batch++) await finish(batch);
    expect(runner.batches.map(({ feeds }) => feeds[0]!.data[0])).toEqual([0, 1, 2, 3, 4]);
    expect(await Promise.all([...first, ...late])).toEqual([0, 1, 2, 3, 4]);
    expect(batcher.queued).toBe(0);
  });

  it("refuses what finds it full outside too", async () => {
    const { ask, batcher, finish } = full();
    const outside = Array.from({ length: 10 }, (_, i) => ask(2 + i));
    expect(await ask(99)).toBe("QUEUE_FULL");
    expect(batcher.queued).toBe(11);
    for (let batch = 0; batch < 12; batch++) await finish(batch);
    expect(await Promise.all(outside)).toEqual(Array.from({ length: 10 }, (_, i) => 2 + i));
  });

  it("answers deadlines and takes out who leaves there, and lets the next in", async () => {
    const { runner, clock, ask, batcher, finish } = full();
    const caller = new AbortController();
    const late = ask(2, { deadlineMs: 5 });
    const gone = ask(3, { signal: caller.signal });
    const patient = ask(4);
    clock.advance(5);
    expect(await late).toBe("DEADLINE_EXCEEDED");
    caller.abort();
    expect(await gone).toBe("CANCELLED");
    expect(batcher.queued).toBe(2);
    for (let batch = 0; batch < 3; batch++) await finish(batch);
    expect(await patient).toBe(4);
    expect(runner.rowCounts).toEqual([1, 1, 1]);
  });

  it("lets in when the policy gives more room, or a request in the queue leaves", async () => {
    const { runner, clock, ask, batcher, first, finish } = full();
    const outside = [ask(2), ask(3)];
    batcher.policy = { ...policy, maxQueue: 3, whenFull: "delay" };
    clock.turn();
    await finish(0);
    expect(runner.rowCounts).toEqual([1, 3]);
    await finish(1);
    expect(await Promise.all([...first, ...outside])).toEqual([0, 1, 2, 3]);
  });

  it("drains: finishes what waits outside too", async () => {
    const { ask, batcher, finish } = full();
    const outside = ask(2);
    const drained = batcher.drain(1000);
    expect(await ask(3)).toBe("DRAINING");
    for (let batch = 0; batch < 3; batch++) await finish(batch);
    expect(await outside).toBe(2);
    await drained;
  });

  it("answers what is left there when draining takes too long", async () => {
    const { clock, ask, batcher } = full();
    const outside = ask(2);
    const drained = batcher.drain(10);
    clock.advance(10);
    await drained;
    expect(await outside).toBe("DRAINING");
    expect(batcher.queued).toBe(0);
  });
});

describe("with a real model", () => {
  let pool: InferencePool;
  beforeEach(() => {
    pool = new InferencePool({ workers: 2, metrics });
  });
  afterEach(() => pool.close());

  const batcherFor = async (bytes: Uint8Array, overrides: Partial<BatchPolicy> = {}) =>
    new Batcher({
      name,
      model: await pool.load(name, { bytes }),
      runner: pool,
      policy: { maxBatchRows: 8, queueDelayMs: 1, maxQueue: 10_000, ...overrides },
      clock: systemClock,
      metrics,
    });

  it("merges only requests of equal shapes and equal outputs", async () => {
    const batcher = await batcherFor(freeLengthModel());
    const answers = await Promise.all([
      batcher.submit(row(1, 2), undefined),
      batcher.submit(row(3, 4, 5), undefined),
      batcher.submit(row(6, 7), ["same"]),
      batcher.submit(row(8, 9), undefined),
      batcher.submit(row(1), ["same", "double"]),
    ]);
    expect(answers.map((outputs) => outputs.map((o) => [o.name, ...(o.data as Float32Array)]))).toEqual([
      [
        ["double", 2, 4],
        ["same", 1, 2],
      ],
      [
        ["double", 6, 8, 10],
        ["same", 3, 4, 5],
      ],
      [["same", 6, 7]],
      [
        ["double", 16, 18],
        ["same", 8, 9],
      ],
      [
        ["same", 1],
        ["double", 2],
      ],
    ]);
  });

  it("runs a model of fixed batch size unmerged", async () => {
    const batcher = await batcherFor(affineModel({ rows: 1 }));
    const answers = await Promise.all([0, 1, 2, 3].map((i) => batcher.submit(row(i, i, i), undefined)));
    expect(answers.map(([y]) => [...(y!.data as Float32Array)][0])).toEqual([1, 3, 5, 7]);
  });

  it("fails only the request that poisoned a merged batch", async () => {
    const batcher = await batcherFor(lookupModel(10));
    const ask = (index: number) =>
      batcher
        .submit(lookup([index]), undefined)
        .then(([found]) => (found!.data as Float32Array)[0], errorType);
    expect(await Promise.all([1, 2, 99, 3].map(ask))).toEqual([1, 2, "EXECUTION_FAILED", 3]);
  });

  it.each([1, 2, 3])(
    "never gives anyone another's rows, whatever fails or leaves (seed %i)",
    async (seed) => {
      const next = randomStream(seed);
      const entries = 1000;
      const batcher = await batcherFor(lookupModel(entries));
      const outcomes = { ok: 0, EXECUTION_FAILED: 0, CANCELLED: 0, DEADLINE_EXCEEDED: 0, WORKER_CRASHED: 0 };

      const one = async () => {
        const count = 1 + Math.floor(next() * (next() < 0.1 ? 30 : 5));
        const indices = Array.from({ length: count }, () => Math.floor(next() * entries));
        const poisoned = next() < 0.03;
        if (poisoned) indices[Math.floor(next() * count)] = entries + 5;
        const leaves = next() < 0.1 ? new AbortController() : undefined;
        const deadlineMs = next() < 0.1 ? next() * 3 : 600_000;
        const wanted = next() < 0.3 ? ["echo", "row"] : undefined;
        const asked = batcher.submit(lookup(indices), wanted, { deadlineMs, signal: leaves?.signal });
        // Some leave at once, so that on any machine some do before they are answered.
        if (leaves && next() < 0.3) leaves.abort();
        else if (leaves) setTimeout(() => leaves.abort(), next() * 3);
        try {
          const outputs = await asked;
          expect(poisoned).toBe(false);
          expect(outputs.map((o) => o.name)).toEqual(wanted ?? ["row", "echo"]);
          const found = outputs.find((o) => o.name === "row")!;
          const echo = outputs.find((o) => o.name === "echo")!;
          expect(found.shape).toEqual([count, 2]);
          expect([...(found.data as Float32Array)]).toEqual(indices.flatMap((i) => [i, -i]));
          expect([...(echo.data as Float32Array)]).toEqual(indices.flatMap((i) => [i / 2, i / 4]));
          outcomes.ok++;
        } catch (error) {
          const type = errorType(error) as keyof typeof outcomes;
          if (!(type in outcomes)) throw error;
          if (type === "EXECUTION_FAILED") expect(poisoned).toBe(true);
          outcomes[type]++;
        }
      };
      const client = async () => {
        for (let i = 0; i < 25; i++) {
          await one();
          if (next() < 0.5) await new Promise((resolve) => setTimeout(resolve, next() * 2));
        }
      };
      const killer = setTimeout(() => pool.workers[0]?.kill("the test wants it so"), 20);
      await Promise.all(Array.from({ length: 24 }, client));
      clearTimeout(killer);

      expect(Object.values(outcomes).reduce((a, b) => a + b)).toBe(600);
      expect(outcomes.ok).toBeGreaterThan(400);
      expect(outcomes.EXECUTION_FAILED).toBeGreaterThan(0);
      expect(outcomes.CANCELLED).toBeGreaterThan(0);
      expect(batcher.queued).toBe(0);
      await batcher.drain(1000);
    },
  );

  it("leaves the caller's arrays alone, also when they are views into a larger message", async () => {
    const batcher = await batcherFor(affineModel());
    const message = new Float32Array([9, 1, 2, 3, 9]);
    const view = message.subarray(1, 4);
    const [y] = await batcher.submit([{ name: "x", datatype: "FP32", shape: [1, 3], data: view }], undefined);
    expect(y!.data).toEqual(new Float32Array([3, 5, 7]));
    expect([...message]).toEqual([9, 1, 2, 3, 9]);
  });
});

const lookup = (indices: number[]): Tensor[] => [
  { name: "index", datatype: "INT64", shape: [indices.length], data: BigInt64Array.from(indices, BigInt) },
  {
    name: "x",
    datatype: "FP32",
    shape: [indices.length, 2],
    data: Float32Array.from(indices.flatMap((i) => [i / 2, i / 4])),
  },
];
