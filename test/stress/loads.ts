/**
 * Whether models that come and go leave something behind: cycles of loading and unloading with a prediction in each,
 * then loads that fail. What this thread still reaches is measured after full collections; resident memory, which
 * holds what threads and the runtime keep, is sampled as a curve.
 */

import { liveBytes } from "../fixtures/live-bytes.ts";
import { convolutionalModel } from "../fixtures/onnx-models.ts";
import { openServingNode, type ServingNode } from "./serving-node.ts";

export type LoadsOptions = { cycles: number; failures: number; samples: number };

/** Bytes reached and resident, in the order they were sampled. */
export type Curve = { done: number; liveBytes: number; residentBytes: number }[];
export type LoadsReport = { cycles: Curve; failures: Curve };

const POLICY = { maxBatchRows: 8, queueDelayMs: 1, maxQueue: 100 };
const IMAGE = 28 * 28;

/** @throws {Error} when a load or an unload did not do what it should */
export async function loads({ cycles, failures, samples }: LoadsOptions): Promise<LoadsReport> {
  const node = await openServingNode({ workers: 2, policy: POLICY });
  try {
    await node.publish("m", convolutionalModel());
    await node.server.sync();
    await predict(node);
    return {
      cycles: await curve(cycles, samples, () => cycle(node)),
      failures: await curve(failures, samples, (i) => failedLoad(node, i)),
    };
  } finally {
    await node.close();
  }
}

async function curve(times: number, samples: number, act: (i: number) => Promise<void>): Promise<Curve> {
  const points: Curve = [];
  const every = Math.max(1, Math.floor(times / samples));
  const sample = (done: number) =>
    points.push({ done, liveBytes: liveBytes(), residentBytes: process.memoryUsage.rss() });
  sample(0);
  for (let i = 1; i <= times; i++) {
    await act(i);
    if (i % every === 0) sample(i);
  }
  return points;
}

async function cycle({ registry, server, pool, ...node }: ServingNode): Promise<void> {
  await registry.setLoaded("m", false);
  await server.sync();
  const left = pool.workers.flatMap(({ models }) => [...models]);
  if (left.length > 0) throw new Error(`Threads still hold ${left}`);
  await registry.setLoaded("m", true);
  await server.sync();
  await predict({ registry, server, pool, ...node });
  node.heard.length = 0;
}

/** A truncated model of a new name: the runtime has read much of it when it gives up. */
async function failedLoad({ server, publish, registry, heard, ...node }: ServingNode, i: number) {
  const bytes = convolutionalModel(i).subarray(0, 60_000);
  const version = await publish("broken", bytes);
  await server.sync();
  if (!heard.includes(`failed broken/${version}`)) throw new Error(`Version ${version} loaded: ${heard}`);
  await predict({ server, publish, registry, heard, ...node });
  heard.length = 0;
}

async function predict({ server }: ServingNode): Promise<void> {
  const { outputs } = await server.predict({
    model: "m",
    cache: false,
    inputs: [{ name: "image", datatype: "FP32", shape: [1, 28, 28, 1], data: new Float32Array(IMAGE) }],
  });
  const sum = (outputs[0]!.data as Float32Array).reduce((total, p) => total + p, 0);
  if (Math.abs(sum - 1) > 1e-5) throw new Error(`Probabilities add up to ${sum}`);
}
