/** A node whose inference workers are processes, under load, while these are ended by signals as native code would. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { InferencePool } from "../../lib/runtime/worker-pool.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually, until } from "../fixtures/eventually.ts";
import { affineModel } from "../fixtures/onnx-models.ts";

let directory: string;
let broker: ServiceBroker;
let url: string;
let pool: InferencePool | undefined;

beforeAll(async () => {
  const { load } = InferencePool.prototype;
  jest.spyOn(InferencePool.prototype, "load").mockImplementation(function (this: InferencePool, ...what) {
    pool = this;
    return load.apply(this, what);
  });
  directory = await mkdtemp(join(tmpdir(), "moiety-abort-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "2",
    MOIETY_INFERENCE_ISOLATION: "process",
    // Until a successor is there, requests wait for it.
    MOIETY_INFERENCE_TIMEOUT_MS: "120000",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  url = gatewayUrl(broker);
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(affineModel());
  await store.close();
  await callOf(broker)("registry.publish", {
    model: "m",
    artifacts: { onnx },
    signature: {
      inputs: [{ name: "x", datatype: "FP32", shape: [-1, 3] }],
      outputs: [{ name: "y", datatype: "FP32", shape: [-1, 3] }],
    },
    labels: [],
  });
  await eventually(async () => (await predict(1)) === 3 || undefined);
});
afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** The first value of `2 x + 1`. @throws {Error} for any other status than 200 */
async function predict(value: number): Promise<number> {
  const response = await fetch(`${url}/v2/models/m/infer`, {
    method: "POST",
    body: JSON.stringify({
      inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [value, value, value] }],
    }),
  });
  const answer = (await response.json()) as { outputs: { data: number[] }[] };
  if (response.status !== 200) throw new Error(`${response.status} ${JSON.stringify(answer)}`);
  return answer.outputs[0]!.data[0]!;
}

test("every request is answered while workers abort, and a metric counts those replaced", async () => {
  let stop = false;
  let answered = 0;
  const clients = Promise.all(
    Array.from({ length: 8 }, async (_, client) => {
      for (let i = client; !stop; i += 8) {
        expect(await predict(i)).toBe(2 * i + 1);
        answered++;
      }
    }),
  );
  try {
    for (const signal of ["SIGABRT", "SIGSEGV", "SIGABRT"] as const) {
      const before = answered;
      await until(() => answered >= before + 30);
      const [{ pid } = {}] = pool!.workers;
      process.kill(pid!, signal);
      await until(() => pool!.workers.every((worker) => worker.pid !== pid && worker.models.size === 1));
    }
  } finally {
    stop = true;
    await clients;
  }
  const page = await (await fetch(`${url}/metrics`)).text();
  expect(page).toMatch(/^moiety_inference_worker_restarts(\{[^}]*\})? 3$/m);
});
