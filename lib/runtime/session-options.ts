/**
 * How a worker makes sessions: one thread a run and the processor, unless the model's configuration says otherwise. A
 * provider that onnxruntime-node does not offer on this platform is refused here, because it would be left out in
 * silence; one that is offered and finds no device is refused by the runtime itself.
 */

import { type InferenceSession, listSupportedBackends } from "onnxruntime-node";
import type { ExecutionProvider } from "../protocol/model-configuration.ts";
import { ConfigurationRefused, type InstanceOptions } from "./inference-messages.ts";

/** @throws {ConfigurationRefused} for a provider that is not offered here */
export function sessionOptions({ provider = "cpu", intraOpThreads = 1 }: InstanceOptions) {
  return {
    executionProviders: providersFor(provider),
    graphOptimizationLevel: "all",
    executionMode: "sequential",
    // Parallelism comes from the number of workers; threads inside a run would fight over the same cores.
    intraOpNumThreads: intraOpThreads,
    interOpNumThreads: 1,
    // Failures are answered, with the runtime's reason; it need not print them as well.
    logSeverityLevel: 4,
    // A spinning thread pool takes the core from the broker.
    extra: { session: { intra_op: { allow_spinning: "0" }, inter_op: { allow_spinning: "0" } } },
  } as const satisfies InferenceSession.SessionOptions;
}

/** In the order in which they are given nodes: the processor takes what the first cannot run. */
function providersFor(provider: ExecutionProvider): string[] {
  if (provider === "cpu") return ["cpu"];
  const offered = listSupportedBackends().map(({ name }) => name);
  if (!offered.includes(provider))
    throw new ConfigurationRefused(
      `execution provider ${provider} is not offered by onnxruntime-node on ${process.platform} ${process.arch}; offered: ${offered.join(", ")}`,
    );
  return [provider, "cpu"];
}
