/**
 * Which tensors a layer of a functional model is applied to, in each way it is written:
 *
 * - Keras 3: `[{args: [tensor or list of tensors], kwargs: {}}]`, a tensor being
 *   `{class_name: "__keras_tensor__", config: {shape, dtype, keras_history: [layer, application, output]}}`;
 * - Keras 2 and TensorFlow.js: `[[[layer, application, output, kwargs], ...], ...]`, a tensor among the keyword
 *   arguments being `[layer, application, output]`.
 *
 * A number among the positional arguments, as `not_equal(x, 0)` has, is an option by its place, `args[1]`; others that
 * are no tensor are refused.
 */

import { InvalidModelError } from "../errors.ts";
import { shown } from "./shown.ts";

/** Output `output` of application number `application` of the layer called `layer`. */
export type TensorRef = { layer: string; application: number; output: number };

/** One application of a layer; keyword arguments that are null are left out. */
export type InboundNode = {
  inputs: TensorRef[];
  tensors: Map<string, TensorRef[]>;
  options: Map<string, unknown>;
};

/** TensorFlow.js writes as Keras 2 does. */
export type Dialect = "Keras 2" | "Keras 3";

/** How one layer's `inbound_nodes` are written; undefined when it has none. */
export function dialectOf(value: unknown): Dialect | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  return Array.isArray(value[0]) ? "Keras 2" : "Keras 3";
}

/** Each application of a layer. @throws {InvalidModelError} naming `where` */
export function readInboundNodes(value: unknown, where: string): InboundNode[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return refuse(where, value, "a list of applications");
  return value.map((node: unknown) => {
    if (Array.isArray(node)) return readKeras2(node, where);
    const { args, kwargs } = (node ?? {}) as { args?: unknown; kwargs?: unknown };
    if (!Array.isArray(args)) return refuse(where, node, "{args, kwargs} or a list of tensors");
    const { tensors, options } = readKeywords(kwargs, where);
    const inputs = args.flatMap((argument: unknown, place) => {
      if (place === 0 || typeof argument !== "number") return readArgument(argument, where);
      options.set(`args[${place}]`, argument);
      return [];
    });
    return { inputs, tensors, options };
  });
}

/** `input_layers` or `output_layers`: one triple, a list of triples, or triples by name. */
export function readEnds(value: unknown, where: string): TensorRef[] {
  if (isTriple(value)) return [readTriple(value, where)];
  if (typeof value !== "object" || value === null)
    return refuse(where, value, "[layer, application, output] or a list of them");
  const ends = Object.values(value).map((triple: unknown) => readTriple(triple, where));
  if (ends.length === 0) return refuse(where, value, "[layer, application, output] or a list of them");
  return ends;
}

function readKeras2(node: unknown[], where: string): InboundNode {
  // A single tensor is at times written without a list around it.
  const written: unknown[] = typeof node[0] === "string" ? [node] : node;
  const tensors = new Map<string, TensorRef[]>();
  const options = new Map<string, unknown>();
  const inputs = written.map((tensor) => {
    if (Array.isArray(tensor)) {
      const keywords = readKeywords(tensor[3], where);
      for (const [name, refs] of keywords.tensors) tensors.set(name, refs);
      for (const [name, option] of keywords.options) options.set(name, option);
    }
    return readTriple(tensor, where);
  });
  return { inputs, tensors, options };
}

/** A tensor, a list of tensors, or nothing. */
function readArgument(argument: unknown, where: string): TensorRef[] {
  if (argument === null) return [];
  const tensors: unknown[] = Array.isArray(argument) ? argument : [argument];
  return tensors.map((tensor) => {
    const history = historyOf(tensor);
    if (history === undefined) return refuse(where, tensor, "a tensor of the model");
    return readTriple(history, where);
  });
}

/** What a Keras 3 tensor says of where it comes from; undefined for anything else. */
function historyOf(tensor: unknown): unknown {
  if (typeof tensor !== "object" || tensor === null) return undefined;
  const { class_name, config } = tensor as { class_name?: unknown; config?: { keras_history?: unknown } };
  return class_name === "__keras_tensor__" ? (config?.keras_history ?? null) : undefined;
}

function readKeywords(kwargs: unknown, where: string): Pick<InboundNode, "tensors" | "options"> {
  const tensors = new Map<string, TensorRef[]>();
  const options = new Map<string, unknown>();
  for (const [name, value] of Object.entries((kwargs ?? {}) as Record<string, unknown>)) {
    if (value === null) continue;
    const list: unknown[] = Array.isArray(value) && !isTriple(value) ? value : [value];
    const refs = list.flatMap((item) => {
      const history = historyOf(item);
      if (history !== undefined) return [readTriple(history, where)];
      return isTriple(item) ? [readTriple(item, where)] : [];
    });
    if (refs.length > 0 && refs.length === list.length) tensors.set(name, refs);
    else options.set(name, value);
  }
  return { tensors, options };
}

function isTriple(value: unknown): boolean {
  return Array.isArray(value) && typeof value[0] === "string" && typeof value[1] === "number";
}

function readTriple(value: unknown, where: string): TensorRef {
  const [layer, application, output] = Array.isArray(value) ? (value as unknown[]) : [];
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (typeof layer !== "string" || !isCount(application) || !isCount(output))
    return refuse(where, value, "[layer, application, output]");
  return { layer, application, output };
}

function refuse(where: string, received: unknown, expected: string): never {
  throw new InvalidModelError(where, `received ${shown(received)}, expected ${expected}`);
}
