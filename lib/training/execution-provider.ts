/**
 * Where ONNX Runtime computes a training step: the processor, or a GPU through CUDA or WebGPU. Asked for one that is
 * not there (no device, no driver, a build without it), training goes on on the processor and says why.
 */

import * as ort from "onnxruntime-node";
import { errorMessage } from "../errors.ts";
import type { Graph } from "../onnx/graph.ts";
import { OPSET } from "../onnx/graph.ts";
import { writeModel } from "../onnx/proto.ts";
import { nativeCall } from "../runtime/native-call.ts";

export const PROVIDERS = ["cpu", "cuda", "webgpu"] as const;
export type ProviderName = (typeof PROVIDERS)[number];

export type ChosenProvider = {
  name: ProviderName;
  /** Why it is not the one that was asked for. */
  reason?: string;
};

/** The provider that was asked for, if a small graph runs on it, else the processor. */
export async function chooseProvider(wished: ProviderName): Promise<ChosenProvider> {
  if (wished === "cpu") return { name: "cpu" };
  try {
    await tryProvider(wished);
    return { name: wished };
  } catch (error) {
    return { name: "cpu", reason: errorMessage(error).trim() };
  }
}

/** Providers in the order in which they are given nodes; the processor takes what the first cannot run. */
export function sessionProviders(name: ProviderName): string[] {
  return name === "cpu" ? ["cpu"] : [name, "cpu"];
}

/** @throws {Error} as the runtime does */
async function tryProvider(name: ProviderName): Promise<void> {
  const vector = (name: string) => ({ name, datatype: "FP32" as const, shape: [2] });
  const graph: Graph = {
    name: "provider",
    inputs: [vector("x")],
    outputs: [vector("y")],
    initializers: new Map(),
    nodes: [{ name: "add", op: "Add", inputs: ["x", "x"], outputs: ["y"], domain: "", attributes: {} }],
  };
  const bytes = writeModel({ graph, opsets: { "": OPSET }, producer: "moiety", metadata: {} });
  const session = await nativeCall(() =>
    ort.InferenceSession.create(bytes, { executionProviders: sessionProviders(name), logSeverityLevel: 4 }),
  );
  try {
    const { y } = await nativeCall(() => session.run({ x: new ort.Tensor("float32", [1, 2], [2]) }));
    const sums = y!.data as Float32Array;
    if (sums[0] !== 2 || sums[1] !== 4) throw new Error(`1 + 1 and 2 + 2 gave ${sums.join(" and ")}`);
  } finally {
    await session.release();
  }
}
