import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, until } from "../../test/fixtures/eventually.ts";
import {
  affineModel,
  batchMeanModel,
  ElementType,
  identityModel,
  lookupModel,
  onnxModel,
} from "../../test/fixtures/onnx-models.ts";
import { errorType } from "../errors.ts";
import { openStore } from "../store/open-store.ts";
import type { StoreLocation } from "../store/store.ts";
import type { Datatype, TensorData } from "../tensor/datatype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { ISOLATIONS } from "./worker-channel.ts";
import { InferencePool, type LoadOptions } from "./worker-pool.ts";

const counted: string[] = [];
const metrics = { increment: (name: string) => void counted.push(name), set() {}, observe() {} };
const affine = { model: "affine", version: "1" };

let pool: InferencePool;
describe.each(ISOLATIONS)("where each worker is a %s", (isolation) => {
  beforeEach(() => {
    counted.length = 0;
    pool = new InferencePool({ workers: 2, metrics, isolation });
  });
  afterEach(() => pool.close());

  const x = (...values: number[]): Tensor[] => [
    { name: "x", datatype: "FP32", shape: [values.length / 3, 3], data: new Float32Array(values) },
  ];
  const failure = (promise: Promise<unknown>) =>
    promise.then(
      () => {
        throw new Error("it succeeded");
      },
      (error: Error & { data?: unknown }) => error,
    );

  describe("a pool of inference workers", () => {
    it("gives a model's signature, with free dimensions as -1, and runs it", async () => {
      const loaded = await pool.load(affine, { bytes: affineModel() });
      expect(loaded).toEqual({
        batchable: true,
        signature: {
          inputs: [{ name: "x", datatype: "FP32", shape: [-1, 3] }],
          outputs: [{ name: "y", datatype: "FP32", shape: [-1, 3] }],
        },
      });
      const [y] = await pool.run(affine, () => x(1, 2, 3));
      expect(y).toEqual({ name: "y", datatype: "FP32", shape: [1, 3], data: new Float32Array([3, 5, 7]) });
    });

    it.each<[Datatype, ElementType, TensorData]>([
      ["BOOL", ElementType.BOOL, new Uint8Array([1, 0])],
      ["UINT8", ElementType.UINT8, new Uint8Array([0, 255])],
      ["UINT16", ElementType.UINT16, new Uint16Array([0, 65535])],
      ["UINT32", ElementType.UINT32, new Uint32Array([0, 2 ** 32 - 1])],
      ["UINT64", ElementType.UINT64, new BigUint64Array([0n, 2n ** 64n - 1n])],
      ["INT8", ElementType.INT8, new Int8Array([-128, 127])],
      ["INT16", ElementType.INT16, new Int16Array([-32768, 32767])],
      ["INT32", ElementType.INT32, new Int32Array([-(2 ** 31), 2 ** 31 - 1])],
      ["INT64", ElementType.INT64, new BigInt64Array([-(2n ** 63n), 2n ** 63n - 1n])],
      ["FP16", ElementType.FLOAT16, new Uint16Array([0x3c00, 0x7bff])],
      ["FP32", ElementType.FLOAT, new Float32Array([-0.1, 3.4e38])],
      ["FP64", ElementType.DOUBLE, new Float64Array([-0.1, 1e300])],
      ["BYTES", ElementType.STRING, ["", "straße ⛵"]],
    ])("carries %s tensors to the runtime and back unchanged", async (datatype, element, data) => {
      const name = { model: "same", version: datatype };
      const { signature } = await pool.load(name, { bytes: identityModel(element) });
      expect(signature.inputs).toEqual([{ name: "x", datatype, shape: [-1, 2] }]);
      const feed = () => [{ name: "x", datatype, shape: [1, 2], data: structuredClone(data) }];
      expect(await pool.run(name, feed)).toEqual([{ name: "y", datatype, shape: [1, 2], data }]);
    });

    it("refuses a model of BF16, which has no array type, and says so", async () => {
      const error = await failure(
        pool.load({ model: "bf16", version: "1" }, { bytes: identityModel(ElementType.BFLOAT16) }),
      );
      expect(errorType(error)).toBe("MODEL_CORRUPT");
      expect(error.message).toMatch(/type/i);
    });

    it("refuses a corrupt model file with the runtime's reason and goes on with the others", async () => {
      await pool.load(affine, { bytes: affineModel() });
      const error = await failure(
        pool.load({ model: "bad", version: "7" }, { bytes: new Uint8Array(64).fill(9) }),
      );
      expect(errorType(error)).toBe("MODEL_CORRUPT");
      expect(error.message).toBe(
        "Model 'bad' version '7' cannot be loaded: Failed to load model because protobuf parsing failed.",
      );
      expect((await pool.run(affine, () => x(0, 0, 0)))[0]!.data).toEqual(new Float32Array([1, 1, 1]));
      expect(counted).toEqual([]);
    });

    it("answers an execution that the runtime refuses with its reason", async () => {
      const name = { model: "lookup", version: "1" };
      await pool.load(name, { bytes: lookupModel(10) });
      const error = await failure(
        pool.run(name, () => [
          { name: "index", datatype: "INT64", shape: [1], data: new BigInt64Array([99n]) },
          { name: "x", datatype: "FP32", shape: [1, 2], data: new Float32Array(2) },
        ]),
      );
      expect(errorType(error)).toBe("EXECUTION_FAILED");
      expect(error.message).toContain("99");
    });

    it("notices that a model mixes the rows of its batch, whatever it declares", async () => {
      const softmaxOverBatch = onnxModel({
        inputs: [{ name: "x", type: ElementType.FLOAT, shape: ["N", 2] }],
        outputs: [{ name: "y", type: ElementType.FLOAT, shape: ["N", 2] }],
        nodes: [{ op: "Softmax", inputs: ["x"], outputs: ["y"], attributes: { axis: 0 } }],
      });
      expect(await pool.load({ model: "mixing", version: "1" }, { bytes: softmaxOverBatch })).toMatchObject({
        batchable: false,
      });
      expect(await pool.load({ model: "mean", version: "1" }, { bytes: batchMeanModel() })).toMatchObject({
        batchable: false,
      });
      expect(
        await pool.load({ model: "fixed", version: "1" }, { bytes: affineModel({ rows: 1 }) }),
      ).toMatchObject({ batchable: false });
    });

    it("fetches only the outputs asked for, in that order", async () => {
      const name = { model: "lookup", version: "1" };
      await pool.load(name, { bytes: lookupModel(10) });
      const feeds = (): Tensor[] => [
        { name: "index", datatype: "INT64", shape: [1], data: new BigInt64Array([4n]) },
        { name: "x", datatype: "FP32", shape: [1, 2], data: new Float32Array([5, 6]) },
      ];
      expect(
        (await pool.run(name, feeds, ["echo", "row"])).map((t) => [t.name, ...(t.data as Float32Array)]),
      ).toEqual([
        ["echo", 5, 6],
        ["row", 4, -4],
      ]);
      expect((await pool.run(name, feeds, ["row"])).map((t) => t.name)).toEqual(["row"]);
    });

    it("no longer runs a model that was unloaded, and can load it again", async () => {
      await pool.load(affine, { bytes: affineModel() });
      await pool.unload(affine);
      expect(errorType(await failure(pool.run(affine, () => x(0, 0, 0))))).toBe("UNAVAILABLE");
      await pool.load(affine, { bytes: affineModel({ scale: 10 }) });
      expect((await pool.run(affine, () => x(1, 1, 1)))[0]!.data).toEqual(new Float32Array([11, 11, 11]));
    });

    describe("follows how instances are configured", () => {
      const holders = (id: string) => pool.workers.filter((worker) => worker.models.has(id));

      it("holds a model in as many threads as it says, and spreads several", async () => {
        const other = { model: "other", version: "1" };
        await pool.load(affine, { bytes: affineModel() }, { workers: 1 });
        await pool.load(other, { bytes: affineModel() }, { workers: 1 });
        expect(holders("affine/1")).toHaveLength(1);
        expect(holders("other/1")).toHaveLength(1);
        expect(holders("affine/1")).not.toEqual(holders("other/1"));
        expect((await pool.run(affine, () => x(1, 1, 1)))[0]!.data).toEqual(new Float32Array([3, 3, 3]));
      });

      it("gives the place of a thread that stopped to its successor", async () => {
        await pool.load(affine, { bytes: affineModel() }, { workers: 1 });
        holders("affine/1")[0]!.kill("by the test");
        const answers = await Promise.all([1, 2, 3].map((i) => pool.run(affine, () => x(i, i, i))));
        expect(answers.map(([y]) => y!.data[0])).toEqual([3, 5, 7]);
        expect(holders("affine/1")).toHaveLength(1);
      });

      it("holds the same version twice, apart", async () => {
        await pool.load(affine, { bytes: affineModel() });
        const beside = { ...affine, instance: 1 };
        await pool.load(beside, { bytes: affineModel({ scale: 10 }) }, { workers: 1, intraOpThreads: 2 });
        expect((await pool.run(beside, () => x(1, 1, 1)))[0]!.data).toEqual(new Float32Array([11, 11, 11]));
        await pool.unload(affine);
        expect((await pool.run(beside, () => x(2, 2, 2)))[0]!.data).toEqual(new Float32Array([21, 21, 21]));
      });

      it.each<[string, LoadOptions]>([
        [
          "Loading model 'affine' failed: its warmup[1] failed: the model has no input \"y\", but x",
          { warmup: [{ rows: 8 }, { inputs: { y: { values: "zeros" } } }] },
        ],
        ["Loading model 'affine' failed: execution provider dml is not offered", { provider: "dml" }],
      ])("refuses to load with: %s", async (message, options) => {
        if (process.platform === "win32") return;
        const error = await failure(pool.load(affine, { bytes: affineModel() }, options));
        expect(errorType(error)).toBe("LOAD_FAILED");
        expect(error.message).toContain(message);
        await pool.load(affine, { bytes: affineModel() }, { warmup: [{ rows: 8, count: 3 }] });
        expect((await pool.run(affine, () => x(1, 1, 1)))[0]!.data).toEqual(new Float32Array([3, 3, 3]));
      });

      it("refuses what the runtime refuses of a warm-up", async () => {
        const inputs = { index: { values: [99] }, x: { shape: [1, 2], values: "random" as const } };
        const loading = pool.load(affine, { bytes: lookupModel(10) }, { warmup: [{ inputs }] });
        expect((await failure(loading)).message).toMatch(/warmup\[0\] failed: .*99/);
      });
    });

    it("gives up a run that takes too long, replaces its worker and answers the next", async () => {
      await pool.close();
      pool = new InferencePool({ workers: 1, metrics, isolation, runTimeoutMs: 60 });
      const slow = { model: "slow", version: "1" };
      await pool.load(slow, { bytes: slowModel() });
      await pool.load(affine, { bytes: affineModel() });
      const trips = (count: bigint) => () => [
        { name: "trips", datatype: "INT64" as const, shape: [1], data: new BigInt64Array([count]) },
        { name: "x", datatype: "FP32" as const, shape: [256, 256], data: new Float32Array(256 * 256) },
      ];
      expect(errorType(await failure(pool.run(slow, trips(1500n))))).toBe("DEADLINE_EXCEEDED");
      expect(counted).toEqual(["moiety.inference.worker.restarts"]);
      // Until its successor has loaded the models, further runs are given up as well.
      const answer = await eventually(() => pool.run(affine, () => x(1, 1, 1)));
      expect(answer[0]!.data).toEqual(new Float32Array([3, 3, 3]));
    });
  });

  /** Multiplies `trips` copies of x with themselves: as slow as the caller wants. */
  function slowModel(): Uint8Array {
    return onnxModel({
      inputs: [
        { name: "trips", type: ElementType.INT64, shape: [1] },
        { name: "x", type: ElementType.FLOAT, shape: [256, 256] },
      ],
      outputs: [{ name: "y", type: ElementType.FLOAT, shape: [256, 256] }],
      constants: [{ name: "tail", shape: [2], data: new BigInt64Array([256n, 256n]) }],
      nodes: [
        { op: "Concat", inputs: ["trips", "tail"], outputs: ["shape"], attributes: { axis: 0 } },
        { op: "Expand", inputs: ["x", "shape"], outputs: ["copies"] },
        { op: "MatMul", inputs: ["copies", "copies"], outputs: ["products"] },
        { op: "ReduceMax", inputs: ["products"], outputs: ["y"], attributes: { axes: [0], keepdims: 0 } },
      ],
    });
  }

  describe("a pool that loads from a store", () => {
    let directory: string;
    let location: StoreLocation;
    beforeEach(async () => {
      directory = await mkdtemp(join(tmpdir(), "moiety-pool-"));
      location = { kind: "files", directory };
    });
    afterEach(() => rm(directory, { recursive: true, force: true }));

    const put = async (bytes: Uint8Array) => {
      const store = await openStore(location);
      const { digest } = await store.artifacts.put(bytes);
      await store.close();
      return digest;
    };

    it("reads and verifies the artifact in the worker", async () => {
      const digest = await put(affineModel());
      await pool.load(affine, { location, digest });
      expect((await pool.run(affine, () => x(1, 2, 3)))[0]!.data).toEqual(new Float32Array([3, 5, 7]));
    });

    it("refuses bytes that no longer match their digest", async () => {
      const digest = await put(affineModel());
      for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }))
        if (entry.isFile() && entry.name.includes(digest.slice(-16)))
          await writeFile(join(entry.parentPath, entry.name), affineModel({ scale: 3 }));
      expect(errorType(await failure(pool.load(affine, { location, digest })))).toBe("ARTIFACT_CORRUPT");
    });

    it("names an artifact that is not there", async () => {
      await put(affineModel());
      const digest = `sha256:${createHash("sha256").update("nothing").digest("hex")}`;
      expect(errorType(await failure(pool.load(affine, { location, digest })))).toBe("ARTIFACT_NOT_FOUND");
    });
  });

  describe("a worker that dies", () => {
    const killOne = (reason = "killed by the test") => {
      const [worker] = pool.workers;
      worker!.kill(reason);
      return worker!;
    };

    it("is replaced with every model reloaded, and what it had in flight is run again", async () => {
      await pool.load(affine, { bytes: affineModel() });
      const runs = Array.from({ length: 4 }, (_, i) => pool.run(affine, () => x(i, i, i)));
      killOne();
      const answers = await Promise.all(runs);
      expect(answers.map(([y]) => (y!.data as Float32Array)[0])).toEqual([1, 3, 5, 7]);
      await until(
        () => pool.workers.length === 2 && pool.workers.every((worker) => worker.models.size === 1),
      );
      expect(counted).toEqual(["moiety.inference.worker.restarts"]);
    });

    it("twice under the same run answers WORKER_CRASHED", async () => {
      await pool.load(affine, { bytes: affineModel() });
      let attempts = 0;
      const doomed = pool.run(affine, () => {
        attempts++;
        // Whoever gets the run dies of it.
        queueMicrotask(() => {
          for (const worker of pool.workers) if (worker.runsInFlight > 0) worker.kill("poison");
        });
        return x(1, 1, 1);
      });
      const error = await failure(doomed);
      expect(errorType(error)).toBe("WORKER_CRASHED");
      expect(error.message).toContain("poison");
      expect(attempts).toBe(2);
    });

    it("and was the only one lets runs wait for its successor", async () => {
      await pool.close();
      pool = new InferencePool({ workers: 1, metrics, isolation });
      await pool.load(affine, { bytes: affineModel() });
      killOne();
      expect((await pool.run(affine, () => x(1, 2, 3)))[0]!.data).toEqual(new Float32Array([3, 5, 7]));
    });

    it("does not keep close() from ending, and whoever waits is answered", async () => {
      await pool.load(affine, { bytes: affineModel() });
      for (const worker of pool.workers) worker.kill("all at once");
      const waiting = failure(pool.run(affine, () => x(1, 1, 1)));
      await pool.close();
      expect(errorType(await waiting)).toBe("DRAINING");
    });
  });
});
