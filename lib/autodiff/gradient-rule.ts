/**
 * What a gradient rule sees: the forward node, the gradients of the loss with respect to its outputs, and which
 * inputs want one. A rule appends backward nodes to the same graph and gives one gradient per wanted input.
 */

import { InvalidModelError } from "../errors.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import type { Attributes, Dim, Node } from "../onnx/graph.ts";
import { NodeView, product } from "../onnx/operators/rule.ts";
import { ONNX_TYPE } from "../onnx/proto.ts";

export type GradientRule = (context: GradientContext) => (Value | undefined)[];

export class GradientContext {
  readonly graph: GraphBuilder;
  readonly node: Node;
  /** The node's attributes and inputs, parsed. */
  readonly view: NodeView;
  private readonly outputGradients: readonly (Value | undefined)[];
  private readonly wanted: readonly boolean[];

  constructor(
    graph: GraphBuilder,
    node: Node,
    outputGradients: readonly (Value | undefined)[],
    wanted: readonly boolean[],
  ) {
    this.graph = graph;
    this.node = node;
    this.view = new NodeView(node, graph.inputsOf(node), graph.initializers);
    this.outputGradients = outputGradients;
    this.wanted = wanted;
  }

  input(index: number): Value {
    return this.view.input(index);
  }

  has(index: number): boolean {
    return this.view.has(index);
  }

  output(index = 0): Value {
    return this.graph.valueOf(this.node.outputs[index]!);
  }

  wants(index: number): boolean {
    return this.wanted[index] === true;
  }

  /** Gradient of the loss with respect to output `index`. */
  gradient(index = 0): Value {
    const value = this.outputGradients[index];
    if (!value) throw new InvalidModelError(`node '${this.node.name}'`, `output ${index} has no gradient`);
    return value;
  }

  hasGradient(index: number): boolean {
    return this.outputGradients[index] !== undefined;
  }

  op(op: string, inputs: readonly (Value | undefined)[], attributes: Attributes = {}): Value {
    return this.graph.op(op, inputs, attributes);
  }

  add = (a: Value, b: Value): Value => this.op("Add", [a, b]);
  sub = (a: Value, b: Value): Value => this.op("Sub", [a, b]);
  mul = (a: Value, b: Value): Value => this.op("Mul", [a, b]);
  div = (a: Value, b: Value): Value => this.op("Div", [a, b]);
  scalar = (number: number): Value => this.graph.scalar(number);

  /** `value` where `condition` (BOOL) holds, else 0; a product, because ONNX Runtime's Where takes twice its time. */
  where(condition: Value, value: Value): Value {
    return this.mul(value, this.op("Cast", [condition], { to: ONNX_TYPE.FP32 }));
  }

  /** `value` with known sizes brought to `shape`. */
  reshape(value: Value, shape: readonly Dim[]): Value {
    if (value.shape.join() === shape.join()) return value;
    return this.op("Reshape", [value, this.graph.ints(this.known(shape))]);
  }

  /** Sums a gradient over the axes along which `target` was broadcast. */
  unbroadcast(gradient: Value, target: Value): Value {
    const lead = gradient.shape.length - target.shape.length;
    const axes = gradient.shape.flatMap((dim, axis) =>
      axis < lead || (target.shape[axis - lead] === 1 && dim !== 1) ? [axis] : [],
    );
    if (axes.length === 0) return gradient;
    const size = gradient.shape.at(-1)!;
    // Of a bias: everything but the last axis is summed.
    if (axes.length === gradient.shape.length - 1 && target.shape.at(-1) === size && size !== 1)
      return this.reshape(this.columnSums(gradient), target.shape);
    const summed = this.op("ReduceSum", [gradient, this.graph.ints(axes)], { keepdims: lead > 0 ? 0 : 1 });
    return this.reshape(summed, target.shape);
  }

  /** Sums over all axes but the last: a product with ones, which goes over memory twice as fast as ReduceSum. */
  columnSums(value: Value): Value {
    const shape = this.known(value.shape);
    const columns = shape.at(-1)!;
    const rows = product(shape).size / columns;
    const ones = this.op("Expand", [this.scalar(1), this.graph.ints([1, rows])]);
    return this.reshape(this.op("Gemm", [ones, this.reshape(value, [rows, columns])]), [columns]);
  }

  /** Sizes as numbers: training graphs are built for a fixed batch. */
  known(shape: readonly Dim[]): number[] {
    return shape.map((dim) => {
      if (typeof dim === "number") return dim;
      throw new InvalidModelError(`node '${this.node.name}'`, `size '${dim}' must be known to differentiate`);
    });
  }
}
