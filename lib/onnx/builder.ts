/**
 * Builds an ONNX graph node by node, inferring the type and shape of every value as it goes, so that a mistake
 * is met where it is made and later stages (gradients, layers) can read shapes.
 */

import { InvalidModelError } from "../errors.ts";
import type { Datatype } from "../tensor/datatype.ts";
import {
  type Attributes,
  type Dim,
  type Graph,
  integers,
  type Node,
  type TensorLiteral,
  type ValueInfo,
} from "./graph.ts";
import { inferOutputs } from "./operators/table.ts";

/** A value of the graph under construction. */
export type Value = Readonly<ValueInfo>;

export class GraphBuilder {
  readonly name: string;
  /** What every name of this graph begins with. */
  private prefix = "";
  readonly nodes: Node[] = [];
  readonly inputs: Value[] = [];
  private readonly outputs: { name: string; value: Value }[] = [];
  readonly initializers = new Map<string, TensorLiteral>();
  readonly values = new Map<string, Value>();
  private readonly constants = new Map<string, Value>();
  private readonly taken = new Map<string, number>();

  constructor(name: string) {
    this.name = name;
  }

  /** A builder for a body inside this graph (of a Scan): its names are its own, and its nodes may read this graph's values. */
  nested(stem: string): GraphBuilder {
    const body = new GraphBuilder(this.unique(stem));
    body.prefix = `${body.name}/`;
    return body;
  }

  /** A name not used before in this graph, made from `stem`. */
  unique(given: string): string {
    const stem = `${this.prefix}${given}`;
    let count = this.taken.get(stem) ?? 0;
    let name = count === 0 ? stem : `${stem}_${count}`;
    while (this.taken.has(name)) name = `${stem}_${++count}`;
    this.taken.set(name, 1);
    this.taken.set(stem, count + 1);
    return name;
  }

  input(name: string, datatype: Datatype, shape: Dim[]): Value {
    const value = this.register(this.unique(name), datatype, shape);
    this.inputs.push(value);
    return value;
  }

  /** Makes `value` an output called `name`. */
  output(value: Value, name: string): void {
    const made = this.nodes.some((node) => node.outputs.includes(value.name));
    const renamed = this.outputs.some((output) => output.value.name === value.name);
    // Inputs, constants and values that are already an output keep their name and are copied.
    this.outputs.push({ name, value: made && !renamed ? value : this.op("Identity", [value]) });
  }

  initializer(name: string, literal: TensorLiteral): Value {
    const value = this.register(this.unique(name), literal.datatype, literal.shape);
    this.initializers.set(value.name, literal);
    return value;
  }

  /** A float32 scalar constant; equal ones are shared. */
  scalar(number: number): Value {
    return this.shared(`scalar:${number}`, "scalar", () => ({
      datatype: "FP32",
      shape: [],
      data: Float32Array.of(number),
    }));
  }

  /** A constant that is the same wherever it is asked for under `name`. */
  constant(name: string, literal: TensorLiteral): Value {
    return this.shared(`constant:${name}`, name, () => literal);
  }

  /** A one-dimensional INT64 constant; equal ones are shared. */
  ints(values: readonly number[]): Value {
    return this.shared(`ints:${values.join(",")}`, "ints", () => integers(values));
  }

  /** Appends a node with one output. @throws {InvalidModelError} when the inputs do not fit the operator */
  op(op: string, inputs: readonly (Value | undefined)[], attributes: Attributes = {}): Value {
    return this.emit(op, inputs, attributes, [this.unique(op.toLowerCase())])[0]!;
  }

  /** Appends a node with `count` outputs. */
  ops(
    op: string,
    inputs: readonly (Value | undefined)[],
    count: number,
    attributes: Attributes = {},
  ): Value[] {
    const stem = op.toLowerCase();
    return this.emit(
      op,
      inputs,
      attributes,
      Array.from({ length: count }, () => this.unique(stem)),
    );
  }

  /** Adds a further output to a node already there (a gradient that needs, say, MaxPool's indices). */
  extraOutput(node: Node, index: number): Value {
    const present = node.outputs[index];
    if (present) return this.valueOf(present);
    const name = this.unique(`${node.outputs[0]}_out${index}`);
    const length = Math.max(index + 1, node.outputs.length);
    const outputs = Array.from({ length }, (_, i) => (i === index ? name : (node.outputs[i] ?? "")));
    const spec = inferOutputs({ ...node, outputs }, this.inputsOf(node), this.initializers)[index]!;
    node.outputs = outputs;
    return this.register(name, spec.datatype, spec.shape);
  }

  /** Puts back a node that a pass took out, with its outputs' shapes inferred anew. */
  append(node: Node): void {
    const specs = inferOutputs(node, this.inputsOf(node), this.initializers);
    this.nodes.push(node);
    for (const [i, name] of node.outputs.entries())
      if (name !== "") this.register(name, specs[i]!.datatype, specs[i]!.shape);
  }

  /** Registers a further name with the type and shape of `like`, for a pass that rewires nodes. */
  alias(like: Value, name: string): Value {
    return this.register(this.unique(name), like.datatype, like.shape);
  }

  valueOf(name: string): Value {
    const value = this.values.get(name);
    if (!value) throw new InvalidModelError(`graph '${this.name}'`, `no value '${name}'`);
    return value;
  }

  inputsOf(node: Node): (Value | undefined)[] {
    return node.inputs.map((name) => (name === "" ? undefined : this.valueOf(name)));
  }

  /** Constant integers behind a value, when it is an initializer. */
  constantInts(value: Value | undefined): number[] | undefined {
    const literal = value && this.initializers.get(value.name);
    return literal ? Array.from(literal.data as ArrayLike<bigint | number>, Number) : undefined;
  }

  /** @throws {InvalidModelError} when an output has the name of another output, an input or a constant */
  build(): Graph {
    const names = new Map<string, string>();
    const given = new Set<string>();
    for (const { name, value } of this.outputs) {
      const fixed = this.initializers.has(name) || this.inputs.some((input) => input.name === name);
      if (fixed || given.has(name))
        throw new InvalidModelError(`graph '${this.name}'`, `output '${name}' has a name already in use`);
      given.add(name);
      names.set(value.name, name);
    }
    // An inner value that happens to be called as an output is gives way.
    for (const name of given)
      if (this.values.has(name) && !names.has(name)) names.set(name, this.unique(`${name}_inner`));
    const renamed = (name: string): string => names.get(name) ?? name;
    return {
      name: this.name,
      inputs: [...this.inputs],
      outputs: this.outputs.map(({ name, value }) => ({ ...value, shape: [...value.shape], name })),
      initializers: this.initializers,
      nodes: this.nodes.map((node) => ({
        ...node,
        inputs: node.inputs.map(renamed),
        outputs: node.outputs.map(renamed),
      })),
    };
  }

  private emit(
    op: string,
    inputs: readonly (Value | undefined)[],
    attributes: Attributes,
    outputs: string[],
  ): Value[] {
    const node: Node = {
      name: `${op}:${outputs[0]}`,
      op,
      domain: "",
      inputs: inputs.map((value) => value?.name ?? ""),
      outputs,
      attributes,
    };
    const specs = inferOutputs(node, [...inputs], this.initializers);
    this.nodes.push(node);
    return outputs.map((name, i) => this.register(name, specs[i]!.datatype, specs[i]!.shape));
  }

  private register(name: string, datatype: Datatype, shape: Dim[]): Value {
    const value: Value = Object.freeze({ name, datatype, shape });
    this.values.set(name, value);
    return value;
  }

  private shared(key: string, stem: string, make: () => TensorLiteral): Value {
    let value = this.constants.get(key);
    if (!value) {
      value = this.initializer(`const_${stem}`, make());
      this.constants.set(key, value);
    }
    return value;
  }
}
