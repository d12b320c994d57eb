/** The engine that a job asks for, ready to be given data; and what it will compute on. */

import type { TrainingSpec } from "../protocol/jobs.ts";
import { chooseProvider, type ProviderName } from "./execution-provider.ts";
import type { MakeEngine } from "./step-engine.ts";

export type ChosenEngine = {
  /** Undefined: ONNX Runtime. */
  engine: MakeEngine | undefined;
  provider: ProviderName;
  /** As the lineage records it. */
  backend: string;
};

/** `warn` is told of what is slower than it could be. @throws {InvalidInputError} {InvalidModelError} */
export async function engineFor(
  { spec, executionProvider }: { spec: TrainingSpec; executionProvider: ProviderName },
  warn: (message: string) => void,
): Promise<ChosenEngine> {
  if (spec.engine === "tfjs") {
    const { prepareTfjs } = await import("./tfjs/prepare-tfjs.ts");
    const { engine, loaded } = await prepareTfjs(spec);
    const { name, slow, passedOver } = loaded;
    if (slow)
      warn(
        `TensorFlow.js computes in JavaScript (${name}), which is slow; not loaded: ${passedOver.join("; ")}`,
      );
    return { engine, provider: "cpu", backend: name };
  }
  const { name, reason } = await chooseProvider(executionProvider);
  if (reason !== undefined) warn(`Cannot train on ${executionProvider}, but on the CPU: ${reason}`);
  return { engine: undefined, provider: name, backend: name };
}
