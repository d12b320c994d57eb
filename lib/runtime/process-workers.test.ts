import { spawn } from "node:child_process";
import { once } from "node:events";
import { until } from "../../test/fixtures/eventually.ts";
import { affineModel } from "../../test/fixtures/onnx-models.ts";
import { errorType } from "../errors.ts";
import { InferencePool } from "./worker-pool.ts";

const counted: string[] = [];
const metrics = { increment: (name: string) => void counted.push(name), set() {}, observe() {} };
const affine = { model: "affine", version: "1" };
const x = (value: number) => () => [
  { name: "x", datatype: "FP32" as const, shape: [1, 3], data: new Float32Array(3).fill(value) },
];

let pool: InferencePool;
beforeEach(async () => {
  counted.length = 0;
  pool = new InferencePool({ workers: 2, metrics, isolation: "process" });
  await pool.load(affine, { bytes: affineModel() });
});
afterEach(() => pool.close());

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test.each(["SIGABRT", "SIGSEGV", "SIGKILL"] as const)(
  "a worker that ends by %s is replaced, and what it had is answered by another",
  async (signal) => {
    let victim: number | undefined;
    const runs = Array.from({ length: 4 }, (_, i) =>
      pool.run(affine, () => {
        const feeds = x(i)();
        // The first run is in its process's hands when that ends.
        if (i === 0 && victim === undefined)
          queueMicrotask(() => {
            victim = pool.workers.find(({ runsInFlight }) => runsInFlight > 0)?.pid;
            process.kill(victim!, signal);
          });
        return feeds;
      }),
    );
    const answers = await Promise.all(runs);
    expect(answers.map(([y]) => y!.data[0])).toEqual([1, 3, 5, 7]);
    await until(() => pool.workers.length === 2 && pool.workers.every(({ models }) => models.size === 1));
    expect(counted).toEqual(["moiety.inference.worker.restarts"]);
    expect(isAlive(victim!)).toBe(false);
  },
);

test("a run that ends every process that takes it is answered, and the others go on", async () => {
  const poison = pool.run(affine, () => {
    // None can answer before it ends.
    const standing = [...pool.workers];
    for (const { pid } of standing) process.kill(pid!, "SIGSTOP");
    queueMicrotask(() => {
      for (const { pid, runsInFlight } of standing) if (runsInFlight > 0) process.kill(pid!, "SIGABRT");
      for (const { pid } of standing) process.kill(pid!, "SIGCONT");
    });
    return x(1)();
  });
  const error = await poison.then(String, (reason: Error) => reason);
  expect(errorType(error)).toBe("WORKER_CRASHED");
  expect(String(error)).toContain("SIGABRT");
  expect((await pool.run(affine, x(2)))[0]!.data[0]).toBe(5);
});

test("workers leave signals to their parent", async () => {
  const pids = pool.workers.map(({ pid }) => pid!);
  for (const pid of pids) for (const signal of ["SIGINT", "SIGTERM"] as const) process.kill(pid, signal);
  for (let i = 0; i < 4; i++) expect((await pool.run(affine, x(i)))[0]!.data[0]).toBe(2 * i + 1);
  expect(pool.workers.map(({ pid }) => pid)).toEqual(pids);
  await pool.close();
  expect(pids.filter(isAlive)).toEqual([]);
});

test("no worker outlives a parent that was killed", async () => {
  const script = `
    import { InferencePool } from ${JSON.stringify(new URL("./worker-pool.ts", import.meta.url).href)};
    const pool = new InferencePool({ workers: 2, isolation: "process", metrics: { increment() {}, set() {}, observe() {} } });
    await pool.started();
    console.log(pool.workers.map(({ pid }) => pid).join(" "));
  `;
  const parent = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(parent.stdout, "data")) as [Buffer];
  const pids = String(line).trim().split(" ").map(Number);
  expect(pids.filter(isAlive)).toHaveLength(2);
  parent.kill("SIGKILL");
  await until(() => !pids.some(isAlive));
});
