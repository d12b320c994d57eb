import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import { ExecutionError, errorType } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { cacheKey, type KeyedRequest } from "./cache-key.ts";
import { MemoryCache } from "./memory-cache.ts";
import { PredictionCache } from "./prediction-cache.ts";
import { decodePrediction, encodePrediction } from "./prediction-codec.ts";

const tensor = (data: Tensor["data"], datatype: Tensor["datatype"] = "FP32"): Tensor => ({
  name: "x",
  datatype,
  shape: [data.length],
  data,
});
const request = (changes: Partial<KeyedRequest> = {}): KeyedRequest => ({
  model: "mnist",
  version: "1",
  digest: "sha256:aa",
  inputs: [tensor(new Float32Array([1, 2]))],
  outputs: undefined,
  ...changes,
});
const strings = (...data: string[]) => request({ inputs: [tensor(data, "BYTES")] });

describe("the content key", () => {
  it("is the same for the same content in another array", () => {
    const view = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
    expect(cacheKey(request({ inputs: [tensor(view)] }))).toBe(cacheKey(request()));
  });

  it("differs with everything that decides the answer", () => {
    const bits = new Uint8Array([200, 1]);
    const requests = [
      request(),
      request({ model: "mnis", version: "t1" }),
      request({ version: "2" }),
      request({ digest: "sha256:bb" }),
      request({ outputs: [] }),
      request({ outputs: ["a", "b"] }),
      request({ outputs: ["b", "a"] }),
      request({ outputs: ["ab"] }),
      request({ inputs: [tensor(new Float32Array([2, 1]))] }),
      request({ inputs: [tensor(new Float32Array([1, -0]))] }),
      request({ inputs: [tensor(new Float32Array([1, 0]))] }),
      request({ inputs: [{ ...tensor(new Float32Array([1, 2])), shape: [1, 2] }] }),
      request({ inputs: [{ ...tensor(new Float32Array([1, 2])), name: "y" }] }),
      request({ inputs: [tensor(bits, "UINT8")] }),
      request({ inputs: [tensor(new Int8Array(bits.buffer), "INT8")] }),
      request({ inputs: [tensor(bits, "BOOL")] }),
      strings("ab", "c"),
      strings("a", "bc"),
      strings("abc", ""),
      strings("", "abc"),
      strings("\ud800", "c"),
      strings("\ud801", "c"),
      strings("x".repeat(5000), "y"),
      strings("x".repeat(5001), "y"),
      request({ inputs: [tensor(new Float32Array(100_000))] }),
      request({ inputs: [tensor(new Float32Array(100_001))] }),
    ];
    expect(new Set(requests.map(cacheKey)).size).toBe(requests.length);
  });
});

describe("the codec", () => {
  const outputs: Tensor[] = [
    { name: "probabilities", datatype: "FP32", shape: [1, 3], data: new Float32Array([0.1, Number.NaN, -0]) },
    { name: "id", datatype: "INT64", shape: [2], data: new BigInt64Array([-(2n ** 63n), 1n]) },
    { name: "half", datatype: "FP16", shape: [1], data: new Uint16Array([0x7e01]) },
    { name: "label ⛵", datatype: "BYTES", shape: [3], data: ["", "straße", "\ud800"] },
    { name: "none", datatype: "FP64", shape: [0, 4], data: new Float64Array(0) },
  ];

  it("keeps every tensor exactly", () => {
    const decoded = decodePrediction(encodePrediction(outputs))!;
    expect(decoded).toEqual(outputs);
    expect(Object.is((decoded[0]!.data as Float32Array)[2], -0)).toBe(true);
  });

  it("decodes an encoding at any offset of a larger buffer", () => {
    const encoded = encodePrediction(outputs);
    for (let offset = 0; offset < 9; offset++) {
      const message = Buffer.alloc(encoded.length + offset + 3, 7);
      encoded.copy(message, offset);
      expect(decodePrediction(message.subarray(offset, offset + encoded.length))).toEqual(outputs);
    }
  });

  it("takes every truncated or damaged encoding for a miss", () => {
    const encoded = encodePrediction(outputs);
    for (let length = 0; length < encoded.length; length++)
      expect(decodePrediction(encoded.subarray(0, length))).toBeUndefined();
    for (let at = 0; at < encoded.length; at++) {
      const damaged = Buffer.from(encoded);
      damaged[at]! ^= 1 << (at % 8);
      expect(decodePrediction(damaged)).toBeUndefined();
    }
    expect(decodePrediction(Buffer.concat([encoded, Buffer.from([0])]))).toBeUndefined();
  });
});

describe("the memory tier", () => {
  const cache = (maxBytes: number, clock = new FakeClock()) =>
    new MemoryCache({ maxBytes, ttlMs: 100, clock });

  it("forgets an entry its time to live after it was written, however often it is read", () => {
    const clock = new FakeClock();
    const memory = cache(10_000, clock);
    memory.put("a", [tensor(new Float32Array([1]))]);
    for (let i = 0; i < 9; i++) {
      clock.advance(11);
      expect(memory.get("a")).toBeDefined();
    }
    clock.advance(1);
    expect(memory.get("a")).toBeUndefined();
    expect(memory.cachedBytes).toBe(0);
  });

  it("stays within its bytes by dropping what was not read for longest", () => {
    const memory = cache(3 * (512 + 400));
    for (const key of ["a", "b", "c"]) memory.put(key, [tensor(new Float32Array(100))]);
    memory.get("a");
    memory.put("d", [tensor(new Float32Array(100))]);
    expect(["a", "b", "c", "d"].filter((key) => memory.get(key))).toEqual(["a", "c", "d"]);
    memory.put("huge", [tensor(new Float32Array(100_000))]);
    expect(memory.get("huge")).toBeUndefined();
    expect(memory.get("a")).toBeDefined();
    expect(memory.cachedBytes).toBe(3 * (512 + 400));
  });

  it("bounds the bytes of an owner, and drops what it has not read for longest", () => {
    const memory = cache(10 * (512 + 400));
    const put = (key: string, owner: string, ownerMaxBytes?: number) =>
      memory.put(key, [tensor(new Float32Array(100))], { owner, ownerMaxBytes });
    put("other", "n");
    for (const key of ["a", "b", "c"]) put(key, "m", 3 * (512 + 400));
    memory.get("a");
    put("d", "m", 3 * (512 + 400));
    expect(["other", "a", "b", "c", "d"].filter((key) => memory.get(key))).toEqual(["other", "a", "c", "d"]);
    expect(memory.bytesOf("m")).toBe(3 * (512 + 400));
    // A smaller bound holds for what is there.
    put("e", "m", 512 + 400);
    expect(["other", "a", "c", "d", "e"].filter((key) => memory.get(key))).toEqual(["other", "e"]);
    put("e", "m", 0);
    expect([memory.get("e"), memory.bytesOf("m"), memory.cachedBytes]).toEqual([undefined, 0, 512 + 400]);
  });

  it("keeps its own copy of just the rows it was given", () => {
    const memory = cache(10_000);
    const batch = new Float32Array([1, 2, 3, 4]);
    memory.put("a", [tensor(batch.subarray(2, 3))]);
    batch.fill(0);
    const [held] = memory.get("a")!;
    expect(held!.data).toEqual(new Float32Array([3]));
    expect((held!.data as Float32Array).buffer.byteLength).toBe(4);
  });
});

describe("the prediction cache", () => {
  const counts = new Map<string, number>();
  const metrics = {
    increment: (name: string, labels: Record<string, string> = {}) => {
      const key = [name, ...Object.values(labels)].join(" ");
      counts.set(key, (counts.get(key) ?? 0) + 1);
    },
    set() {},
    observe() {},
  };
  const clock = new FakeClock();
  let cache: PredictionCache;
  beforeEach(() => {
    counts.clear();
    cache = new PredictionCache({ maxBytes: 10_000, ttlMs: 1000, clock, metrics });
  });
  const outputs = () => [tensor(new Float32Array([1]))];
  const what = "the prediction";
  const model = "m";

  it("computes once and answers from memory after", async () => {
    let computed = 0;
    const compute = async () => {
      computed++;
      return outputs();
    };
    expect(await cache.answer("k", compute, { what, model })).toEqual({ outputs: outputs(), cached: false });
    expect(await cache.answer("k", compute, { what, model })).toEqual({ outputs: outputs(), cached: true });
    expect(computed).toBe(1);
    expect(Object.fromEntries(counts)).toEqual({
      "moiety.cache.misses m": 1,
      "moiety.cache.hits memory m": 1,
    });
  });

  it("keeps no more of a model than that model may take", async () => {
    const keep = async (key: string) =>
      (await cache.answer(key, async () => outputs(), { what, model, maxBytes: 2 * 516 })).cached;
    expect([await keep("a"), await keep("b"), await keep("a"), await keep("c")]).toEqual([
      false,
      false,
      true,
      false,
    ]);
    expect([await keep("a"), await keep("b")]).toEqual([true, false]);
  });

  it("lets identical requests in flight share one answer", async () => {
    const held = Promise.withResolvers<Tensor[]>();
    let computed = 0;
    const ask = () =>
      cache.answer(
        "k",
        () => {
          computed++;
          return held.promise;
        },
        { what, model },
      );
    const answers = [ask(), ask(), ask()];
    held.resolve(outputs());
    expect((await Promise.all(answers)).map(({ outputs: [x] }) => x!.data)).toEqual(
      Array(3).fill(new Float32Array([1])),
    );
    expect(computed).toBe(1);
  });

  it("shares a failure with those waiting and does not keep it", async () => {
    const failing = async () => {
      throw new ExecutionError("x", "y");
    };
    const answers = [
      cache.answer("k", failing, { what, model }),
      cache.answer("k", failing, { what, model }),
    ];
    expect(await Promise.all(answers.map((answer) => answer.catch(errorType)))).toEqual([
      "EXECUTION_FAILED",
      "EXECUTION_FAILED",
    ]);
    expect((await cache.answer("k", async () => outputs(), { what, model })).cached).toBe(false);
  });

  it("gives each waiter its own deadline and cancels the computation when the last has gone", async () => {
    let aborted = false;
    const never = (signal: AbortSignal) => {
      signal.addEventListener("abort", () => {
        aborted = true;
      });
      return new Promise<Tensor[]>(() => {});
    };
    const caller = new AbortController();
    const short = cache.answer("k", never, { what, model, deadlineMs: 10 }).catch(errorType);
    const long = cache.answer("k", never, { what, model, deadlineMs: 50 }).catch(errorType);
    const leaving = cache.answer("k", never, { what, model, signal: caller.signal }).catch(errorType);
    clock.advance(10);
    expect(await short).toBe("DEADLINE_EXCEEDED");
    caller.abort();
    expect(await leaving).toBe("CANCELLED");
    expect(aborted).toBe(false);
    clock.advance(40);
    expect(await long).toBe("DEADLINE_EXCEEDED");
    expect(aborted).toBe(true);
    expect((await cache.answer("k", async () => outputs(), { what, model })).cached).toBe(false);
  });
});
