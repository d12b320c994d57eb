/**
 * Which tensors a layer of a functional model is applied to, in each way it is written:
 *
 * - Keras 3: `[{args: [tensor or list of tensors], kwargs: {}}]`, a tensor being
 *   `{class_name: "__keras_tensor__", config: {shape, dtype, keras_history: [layer, application, output]}}`;
 * - Keras 2 and TensorFlow.js: `[[[layer, application, output, kwargs], ...], ...]`.
 *
 * Layers have one output here. An argument that is no tensor, or a keyword argument that is set (mask, training),
 * would change what the layer does and is refused.
 */

import { InvalidModelError } from "../errors.ts";

/** What application number `application` of the layer called `layer` gives. */
export type TensorRef = { layer: string; application: number };

/** TensorFlow.js writes as Keras 2 does. */
export type Dialect = "Keras 2" | "Keras 3";

/** How one layer's `inbound_nodes` are written; undefined when it has none. */
export function dialectOf(value: unknown): Dialect | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  return Array.isArray(value[0]) ? "Keras 2" : "Keras 3";
}

/** The inputs of each application of a layer. @throws {InvalidModelError} naming `where` */
export function readInboundNodes(value: unknown, where: string): TensorRef[][] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return refuse(where, value, "a list of applications");
  return value.map((node: unknown) => {
    if (Array.isArray(node)) return readKeras2(node, where);
    const { args, kwargs } = (node ?? {}) as { args?: unknown; kwargs?: unknown };
    if (!Array.isArray(args)) return refuse(where, node, "{args, kwargs} or a list of tensors");
    refuseKeywords(kwargs, where);
    return args.flatMap((argument: unknown) => readArgument(argument, where));
  });
}

/** `input_layers` or `output_layers`: one triple, a list of triples, or triples by name. */
export function readEnds(value: unknown, where: string): TensorRef[] {
  if (Array.isArray(value) && typeof value[0] === "string") return [readTriple(value, where)];
  if (typeof value !== "object" || value === null)
    return refuse(where, value, "[layer, application, output] or a list of them");
  return Object.values(value).map((triple: unknown) => readTriple(triple, where));
}

function readKeras2(node: unknown[], where: string): TensorRef[] {
  // A single tensor is at times written without a list around it.
  const tensors: unknown[] = typeof node[0] === "string" ? [node] : node;
  return tensors.map((tensor) => {
    if (Array.isArray(tensor)) refuseKeywords(tensor[3], where);
    return readTriple(tensor, where);
  });
}

/** A tensor, a list of tensors, or nothing. */
function readArgument(argument: unknown, where: string): TensorRef[] {
  if (argument === null) return [];
  const tensors: unknown[] = Array.isArray(argument) ? argument : [argument];
  return tensors.map((tensor) => {
    const { class_name, config } = (tensor ?? {}) as {
      class_name?: unknown;
      config?: { keras_history?: unknown };
    };
    if (class_name !== "__keras_tensor__") return refuse(where, tensor, "a tensor of the model");
    return readTriple(config?.keras_history, where);
  });
}

function readTriple(value: unknown, where: string): TensorRef {
  const [layer, application, output] = Array.isArray(value) ? (value as unknown[]) : [];
  if (typeof layer !== "string" || !Number.isSafeInteger(application) || (application as number) < 0)
    return refuse(where, value, "[layer, application, output]");
  if (output !== 0) return refuse(where, value, `output 0 of layer '${layer}', the only one`);
  return { layer, application: application as number };
}

function refuseKeywords(kwargs: unknown, where: string): void {
  for (const [name, value] of Object.entries((kwargs ?? {}) as Record<string, unknown>))
    if (value !== null) refuse(`${where}, argument '${name}'`, value, "null: it is not supported");
}

function refuse(where: string, received: unknown, expected: string): never {
  throw new InvalidModelError(where, `received ${JSON.stringify(received)}, expected ${expected}`);
}
