/**
 * Writes every ColumnConv and its gradients in ONNX's own operators. ColumnConv is Moiety's form of a convolution that
 * is trained, X [C, N, H, W], W [F, C/group, KH, KW], B [F] -> Y [F, N, OH, OW]: with the channels before the batch
 * it, and the gradient of its weights, are each one matrix product with the same im2col matrix [C·KH·KW, N·OH·OW],
 * without a transposition. Groups are blocks of rows of that matrix, so one batched product.
 *
 * The gradient of the image is a transposed convolution. Depthwise convolution (as many groups as channels) has too
 * little arithmetic for an im2col matrix: it is a Conv with every plane of every image a channel of its own.
 */

import type { GraphBuilder, Value } from "../builder.ts";
import { ChannelBlocks, keptApart } from "../channel-blocks.ts";
import type { Attributes, Node } from "../graph.ts";
import { ImageViews } from "../im2col.ts";
import { NodeView } from "../operators/rule.ts";
import { windowOf } from "../operators/window.ts";

const SWAP = [1, 0, 2, 3];

/** Up to this width, rows are shifted by a product with a shifted identity: exact, and faster than copies of short runs. */
const MAX_PERMUTED_WIDTH = 32;

/** `channelBlock` lets the graph use the runtime's blocked layout, where it then has to run (channel-blocks.ts). */
export function lowerColumnConv(graph: GraphBuilder, channelBlock?: number): void {
  const lowering = new Lowering(graph, channelBlock);
  for (const node of graph.nodes.splice(0)) lowering.append(node);
}

type Window = ReturnType<typeof windowOf>;
type Conv = { window: Window; group: number; depthwise: boolean; y: string; shape: number[] };

class Lowering {
  private readonly graph: GraphBuilder;
  /** Im2col matrices made so far: a convolution and the gradient of its weights need the same one. */
  private readonly matrices = new Map<string, Value>();
  private readonly blocks: ChannelBlocks | undefined;

  constructor(graph: GraphBuilder, channelBlock?: number) {
    this.graph = graph;
    this.blocks = channelBlock === undefined ? undefined : new ChannelBlocks(graph, channelBlock);
  }

  append(node: Node): void {
    if (node.op === "ColumnConv") this.forward(node);
    else if (node.op === "ColumnConvImage") this.imageGradient(node);
    else if (node.op === "ColumnConvKernel") this.kernelGradient(node);
    else this.graph.append(node);
  }

  private forward(node: Node): void {
    const [x, weight, bias] = this.graph.inputsOf(node) as [Value, Value, Value | undefined];
    const conv = this.read(node, weight.shape as number[]);
    const { group, shape } = conv;
    if (conv.depthwise && weight.shape[0] === group) this.planes(node, x, weight, bias);
    else if (conv.depthwise) {
      // Several filters for each channel.
      const inputs = [this.op("Transpose", [x], { perm: SWAP }), weight, ...(bias ? [bias] : [])];
      this.named("Transpose", [this.op("Conv", inputs, node.attributes)], conv.y, { perm: SWAP });
    } else if (this.isBlocked(conv, weight) || this.readsPlain(conv, weight)) {
      const found = this.blocks!.convolve(x, weight, { shape, window: node.attributes, bias });
      this.named("Identity", [found], conv.y);
    } else if (group === 1) {
      const columns = this.columns(x, conv.window, shape);
      const matrix = this.reshape(weight, [shape[0]!, columns.shape[0] as number]);
      const addend = bias && this.reshape(bias, [shape[0]!, 1]);
      const product = this.op("Gemm", addend ? [matrix, columns, addend] : [matrix, columns]);
      this.reshapeTo(product, conv);
    } else {
      const blocks = this.byGroup(this.columns(x, conv.window, shape), group);
      const matrices = this.reshape(weight, [group, shape[0]! / group, blocks.shape[1] as number]);
      const product = this.op("MatMul", [matrices, blocks]);
      const addend = bias && this.reshape(bias, [group, shape[0]! / group, 1]);
      this.reshapeTo(addend ? this.op("Add", [product, addend]) : product, conv);
    }
  }

  private isBlocked({ group, window }: Conv, weight: Value): boolean {
    return group === 1 && product(window.kernel) > 1 && this.blocks?.fits(weight) === true;
  }

  private readsPlain({ group, window }: Conv, weight: Value): boolean {
    return group === 1 && product(window.kernel) > 1 && this.blocks?.readsPlain(weight) === true;
  }

  /** One filter for each channel: the planes [C·N, H, W] are the channels of one image, the kernels are repeated. */
  private planes(node: Node, x: Value, weight: Value, bias?: Value): void {
    const [channels, batch, ...size] = x.shape as [number, number, number, number];
    const repeat = (value: Value, each: readonly number[]) => {
      const apart = this.reshape(value, [channels, 1, ...each]);
      const repeated = this.op("Expand", [apart, this.graph.ints([channels, batch, ...each])]);
      return this.reshape(repeated, [channels * batch, ...each]);
    };
    const image = this.reshape(x, [1, channels * batch, ...size]);
    const inputs = [image, repeat(weight, weight.shape.slice(1) as number[])];
    if (bias) inputs.push(repeat(bias, []));
    const product = this.op("Conv", inputs, { ...node.attributes, group: channels * batch });
    this.reshapeTo(product, this.read(node, weight.shape as number[]));
  }

  private imageGradient(node: Node): void {
    const [g, weight] = this.graph.inputsOf(node) as [Value, Value];
    const conv = this.read(node, weight.shape as number[]);
    const { kernel, strides, dilations, pads } = conv.window;
    const [out, image] = [g.shape.slice(2) as number[], conv.shape.slice(2)];
    const reach = kernel.map((places, i) => dilations[i]! * (places - 1) + 1);
    const plain = strides.every((stride) => stride === 1);
    if (plain && conv.group === 1 && [...reach, ...pads].every((v, i) => v === (i < 2 ? 1 : 0))) {
      // A single place: nothing overlaps.
      const matrix = this.reshape(weight, weight.shape.slice(0, 2) as number[]);
      const rows = this.reshape(g, [g.shape[0] as number, product(g.shape.slice(1) as number[])]);
      this.reshapeTo(this.op("Gemm", [matrix, rows], { transA: 1 }), conv);
      return;
    }
    const turnedPads = pads.map((pad, i) => reach[i % 2]! - 1 - pad);
    if (plain && conv.depthwise && weight.shape[0] === conv.group && turnedPads.every((pad) => pad >= 0)) {
      // The same with the kernel turned about: three times as fast here as transposed convolution.
      const [starts, ends] = [this.graph.ints([-1, -1]), this.graph.ints(kernel.map((size) => -size - 1))];
      const bounds = [starts, ends, this.graph.ints([2, 3]), this.graph.ints([-1, -1])];
      const turned = this.op("Slice", [weight, ...bounds]);
      const attributes = { kernel_shape: kernel, dilations, pads: turnedPads, group: conv.group };
      const again = { ...node, op: "ColumnConv", inputs: [g.name, turned.name], attributes };
      this.planes(again, g, turned);
      return;
    }
    if (plain && turnedPads.every((pad) => pad >= 0) && this.isBlocked(conv, weight)) {
      const window = { kernel_shape: kernel, strides, dilations, pads: turnedPads };
      const found = this.blocks!.convolve(g, weight, { shape: conv.shape, window, turned: true });
      this.named("Identity", [found], conv.y);
      return;
    }
    const output_padding = image.map(
      (size, i) => size - (strides[i]! * (out[i]! - 1) + reach[i]! - pads[i]! - pads[i + 2]!),
    );
    const swapped = this.op("Transpose", [g], { perm: SWAP });
    const spread = this.op("ConvTranspose", [swapped, weight], {
      kernel_shape: kernel,
      strides,
      dilations,
      pads,
      group: conv.group,
      ...(output_padding.some((extra) => extra !== 0) ? { output_padding } : {}),
    });
    this.named("Transpose", [spread], conv.y, { perm: SWAP });
  }

  private kernelGradient(node: Node): void {
    const [x, g] = this.graph.inputsOf(node) as [Value, Value];
    const conv = this.read(node, this.graph.valueOf(node.outputs[0]!).shape as number[]);
    const { window, group, shape } = conv;
    const positions = product(g.shape.slice(1) as number[]);
    if (conv.depthwise) this.planesKernelGradient(conv, x, g);
    else if (group === 1 && this.goesByRows(conv, x, g)) this.kernelGradientByRows(conv, x, g);
    else if (group === 1) {
      // The larger matrix first: the runtime packs the second one.
      const columns = this.columns(x, window, g.shape as number[]);
      const turned = this.op("Gemm", [columns, this.reshape(g, [shape[0]!, positions])], { transB: 1 });
      // Of four axes: the runtime would undo a transposition of the matrix.
      const apart = this.reshape(turned, [...shape.slice(1), shape[0]!]);
      this.named("Transpose", [apart], conv.y, { perm: [3, 0, 1, 2] });
    } else {
      const blocks = this.byGroup(this.columns(x, window, g.shape as number[]), group);
      const rows = this.reshape(g, [group, shape[0]! / group, positions]);
      this.reshapeTo(this.op("MatMul", [rows, this.op("Transpose", [blocks], { perm: [0, 2, 1] })]), conv);
    }
  }

  private goesByRows({ window, shape }: Conv, x: Value, g: Value): boolean {
    const [filters, channels, ...kernel] = shape as [number, number, number, number];
    // Of few channels the matrix is smaller than the shifts of the gradient would be.
    const few = this.blocks !== undefined && channels * kernel[1]! <= filters;
    return window.strides.every((stride) => stride === 1) && !this.has(x, window, g) && !few;
  }

  /**
   * Without an im2col matrix that is there already, and for strides of 1: the kernel's columns as shifts of the image,
   * its rows as shifts of the gradient, and a product for each row. A third of the copying.
   */
  private kernelGradientByRows(conv: Conv, x: Value, g: Value): void {
    const { kernel, dilations, pads } = conv.window;
    const [filters, channels] = conv.shape as [number, number];
    const height = x.shape[2] as number;
    const [batch, outHeight, outWidth] = g.shape.slice(1) as [number, number, number];
    const rows = Array.from({ length: kernel[0]! }, (_, i) => i * dilations[0]! - pads[0]!);
    const columns = Array.from({ length: kernel[1]! }, (_, j) => pads[1]! - j * dilations[1]!);
    const stacked = this.shiftedBy(columns, x, outWidth);
    const positions = batch * height * outWidth;
    const images = this.reshape(stacked, [columns.length * channels, positions]);
    // Rows lie one after another: a shift by rows is one of the whole plane, in longer runs.
    const planes = this.reshape(g, [filters, batch, outHeight * outWidth]);
    const products = rows.map((begin) => {
      const after = height - outHeight - begin;
      const gradient = this.shift(planes, begin * outWidth, after * outWidth);
      return this.op("Gemm", [images, this.reshape(gradient, [filters, positions])], { transB: 1 });
    });
    const all = products.length === 1 ? products[0]! : this.op("Concat", products, { axis: 0 });
    // [places, channels, filters] turned in two steps: the runtime takes three times as long for all axes at once.
    const places = rows.length * columns.length;
    const byPlace = this.reshape(all, [places, channels * filters]);
    const placesLast = keptApart(this.graph, this.op("Transpose", [byPlace], { perm: [1, 0] }));
    const apart = this.reshape(placesLast, [channels, filters, places]);
    this.reshapeTo(this.op("Transpose", [apart], { perm: [1, 0, 2] }), conv);
  }

  /** The images [C, N, H, W] with each of so many zero columns more at their left, `width` columns wide, one after another. */
  private shiftedBy(begins: readonly number[], x: Value, width: number): Value {
    const [channels, batch, height, given] = x.shape as [number, number, number, number];
    const isWhole = (begin: number) => begin === 0 && width === given;
    if (given > MAX_PERMUTED_WIDTH || begins.length === 1 || begins.some(isWhole)) {
      const shifted = begins.map((begin) => (isWhole(begin) ? x : this.shiftColumns(x, begin, width)));
      return shifted.length === 1 ? shifted[0]! : this.op("Concat", shifted, { axis: 0 });
    }
    // All at once, where none is there already; in parts, so that each thread gets as many.
    const rows = channels * batch * height;
    const parts = [4, 2, 1].find((count) => rows % count === 0)!;
    const data = Float32Array.from(begins.flatMap((begin) => [...shiftMatrix(given, begin, width)]));
    const shape = [begins.length, 1, given, width];
    const name = `shifts_${given}_${begins.join("_")}_${width}`;
    const matrices = this.graph.constant(name, { datatype: "FP32", shape, data });
    const moved = this.op("MatMul", [this.reshape(x, [1, parts, rows / parts, given]), matrices]);
    return this.reshape(moved, [begins.length * channels, batch, height, width]);
  }

  private shiftColumns(x: Value, before: number, width: number): Value {
    const [channels, batch, height, given] = x.shape as [number, number, number, number];
    if (given > MAX_PERMUTED_WIDTH) return this.shift(x, before, width - given - before);
    const data = shiftMatrix(given, before, width);
    const name = `shift_${given}_${before}_${width}`;
    const columns = this.graph.constant(name, { datatype: "FP32", shape: [given, width], data });
    const moved = this.op("Gemm", [this.reshape(x, [channels * batch * height, given]), columns]);
    return this.reshape(moved, [channels, batch, height, width]);
  }

  /** Zeros before and after along the last axis; negative numbers cut off. */
  private shift(value: Value, before: number, after: number): Value {
    if (before === 0 && after === 0) return value;
    if (before >= 0 && after >= 0) {
      // Pad writes the whole result first.
      const zeros = (count: number) =>
        count === 0
          ? []
          : [
              this.op("Expand", [
                this.graph.scalar(0),
                this.graph.ints(value.shape.with(-1, count) as number[]),
              ]),
            ];
      return this.op("Concat", [...zeros(before), value, ...zeros(after)], { axis: value.shape.length - 1 });
    }
    // Of every axis: ONNX Runtime 1.30 moves transpositions past a Pad as if it named no axes.
    const rest = new Array<number>(value.shape.length - 1).fill(0);
    return this.op("Pad", [value, this.graph.ints([...rest, before, ...rest, after]), this.graph.scalar(0)]);
  }

  /** A convolution of each channel's images with the gradient as one large kernel. */
  private planesKernelGradient(conv: Conv, x: Value, g: Value): void {
    const { kernel, strides, dilations, pads } = conv.window;
    const [channels, batch, ...size] = x.shape as [number, number, number, number];
    const found = this.op("Conv", [this.reshape(x, [1, channels * batch, ...size]), g], {
      kernel_shape: g.shape.slice(2) as number[],
      strides: dilations,
      dilations: strides,
      pads,
      group: channels,
    });
    // Rows and columns that the strides leave over give places beyond the kernel.
    const whole = found.shape.slice(2).join() === kernel.join();
    const bounds = [this.graph.ints([0, 0]), this.graph.ints(kernel), this.graph.ints([2, 3])];
    this.reshapeTo(whole ? found : this.op("Slice", [found, ...bounds]), conv);
  }

  /** The im2col matrix of X for an output [·, N, OH, OW]. */
  private columns(x: Value, window: Window, output: readonly number[]): Value {
    const out = output.slice(2);
    const key = keyOf(x, window, output);
    let made = this.matrices.get(key);
    if (!made) {
      made = new ImageViews(this.graph, x, window).columns(out);
      this.matrices.set(key, made);
    }
    return made;
  }

  private has(x: Value, window: Window, { shape }: Value): boolean {
    return this.matrices.has(keyOf(x, window, shape as number[]));
  }

  private byGroup(columns: Value, group: number): Value {
    const [rows, positions] = columns.shape as [number, number];
    return this.reshape(columns, [group, rows / group, positions]);
  }

  /** `weights` is the shape of the kernel. */
  private read(node: Node, weights: readonly number[]): Conv {
    const view = new NodeView(node, this.graph.inputsOf(node), this.graph.initializers);
    const group = view.int("group", 1);
    const y = node.outputs[0]!;
    return {
      window: windowOf(view, weights.slice(2)),
      group,
      depthwise: group > 1 && weights[1] === 1,
      y,
      shape: this.graph.valueOf(y).shape as number[],
    };
  }

  private op(op: string, inputs: readonly Value[], attributes: Attributes = {}): Value {
    return this.graph.op(op, inputs, attributes);
  }

  private reshape(value: Value, shape: readonly number[]): Value {
    return this.op("Reshape", [value, this.graph.ints(shape)]);
  }

  private reshapeTo(value: Value, { y, shape }: Conv): void {
    this.named("Reshape", [value, this.graph.ints(shape)], y);
  }

  private named(op: string, inputs: readonly Value[], output: string, attributes: Attributes = {}): void {
    const names = inputs.map(({ name }) => name);
    this.graph.append({
      name: `${op}:${output}`,
      op,
      domain: "",
      inputs: names,
      outputs: [output],
      attributes,
    });
  }
}

/** [given, width]: rows times it have `before` zeros more before them. */
function shiftMatrix(given: number, before: number, width: number): Float32Array {
  const data = new Float32Array(given * width);
  for (let column = 0; column < given; column++) {
    const to = column + before;
    if (to >= 0 && to < width) data[column * width + to] = 1;
  }
  return data;
}

function keyOf(x: Value, window: Window, output: readonly number[]): string {
  return JSON.stringify([x.name, window, output.slice(2)]);
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((a, b) => a * b, 1);
}
