/**
 * Convolution in ONNX Runtime's own layout for CPUs, in which a block of channels lies together, [N, C/block, H, W,
 * block]: its fastest, up to two and a half times as fast here as a transposed convolution. The runtime itself only uses it for
 * weights that are constant; in training they are not, so the nodes are written here (operators of the domain
 * com.microsoft.nchwc; weights as [F/block, C/block, KH, KW, block of C, block of F]; images of fewer channels than a
 * block are read as they are). The size of a block depends on
 * the processor (lib/training/channel-block.ts asks the runtime for it); a graph with such nodes runs where it was made.
 */

import type { GraphBuilder, Value } from "./builder.ts";
import { type Attributes, type Graph, OPSET } from "./graph.ts";

export const BLOCKED_DOMAIN = "com.microsoft.nchwc";

/** The operator sets a graph imports, with the runtime's own if it has such nodes. */
export function opsetsOf(graph: Graph): Record<string, number> {
  const blocked = graph.nodes.some(({ domain }) => domain === BLOCKED_DOMAIN);
  return blocked ? { "": OPSET, [BLOCKED_DOMAIN]: 1 } : { "": OPSET };
}

const SWAP_BATCH_AND_CHANNELS = [1, 0, 2, 3];

/**
 * The matrix a transposition gives, so that ONNX Runtime does not join that one to the next: it looks through Reshape,
 * but not through Flatten, which costs nothing either.
 */
export function keptApart(graph: GraphBuilder, matrix: Value): Value {
  return graph.op("Flatten", [matrix], { axis: 1 });
}

export class ChannelBlocks {
  private readonly graph: GraphBuilder;
  private readonly block: number;

  constructor(graph: GraphBuilder, block: number) {
    this.graph = graph;
    this.block = block;
  }

  /** Whether weights [F, C, KH, KW] can be blocked. */
  fits({ shape }: Value): boolean {
    return Number(shape[0]) % this.block === 0 && Number(shape[1]) % this.block === 0;
  }

  /** Whether the images are too few planes for a block: such are read as they are. */
  readsPlain({ shape }: Value): boolean {
    return Number(shape[0]) % this.block === 0 && Number(shape[1]) < this.block;
  }

  /**
   * Y [F, N, OH, OW], a value of that `shape`, of X [C, N, H, W] and `weights` [F, C, KH, KW]; `turned` for the gradient
   * of an image: weights [C, F, KH, KW] with every kernel turned about.
   */
  convolve(
    x: Value,
    weights: Value,
    options: { shape: readonly number[]; window: Attributes; turned?: boolean; bias?: Value | undefined },
  ): Value {
    const { graph } = this;
    const [filters, batch, ...size] = options.shape as [number, number, number, number];
    const plain = !options.turned && this.readsPlain(weights);
    const kernels = options.turned ? this.turned(weights) : this.blocked(weights, plain);
    const images = graph.op("Transpose", [x], { perm: SWAP_BATCH_AND_CHANNELS });
    const apart = plain ? images : this.node("ReorderInput", [images], images.shape as number[]);
    const inputs = [apart, kernels, ...(options.bias ? [options.bias] : [])];
    const shape = [batch, filters, ...size];
    const product = this.node("Conv", inputs, shape, options.window);
    const together = this.node("ReorderOutput", [product], shape, { channels: filters });
    return graph.op("Transpose", [together], { perm: SWAP_BATCH_AND_CHANNELS });
  }

  /*
   * The runtime moves single axes, and runs of a block's length, several times as fast as the elements of six axes at
   * once: both orders are reached in two such steps.
   */

  /** For `plain` images the channels are not blocked: [F/block, C, KH, KW, block of F]. */
  private blocked(weights: Value, plain: boolean): Value {
    const { graph, block } = this;
    const [filters, channels, ...kernel] = weights.shape as [number, number, number, number];
    const places = kernel[0] * kernel[1];
    if (plain) {
      const byBlock = this.reshape(weights, [filters / block, block, channels * places]);
      return this.reshape(this.transpose(byBlock, [0, 2, 1]), [filters, channels, ...kernel]);
    }
    const byFilter = this.reshape(weights, [filters, channels * places]);
    const filtersLast = keptApart(graph, this.transpose(byFilter, [1, 0]));
    const apart = [channels / block, block, places, filters / block, block];
    const moved = this.transpose(this.reshape(filtersLast, apart), [3, 0, 2, 1, 4]);
    return this.reshape(moved, [filters, channels, ...kernel]);
  }

  private turned(weights: Value): Value {
    const { graph, block } = this;
    const [filters, channels, ...kernel] = weights.shape as [number, number, number, number];
    const places = kernel[0] * kernel[1];
    const placesFirst = this.transpose(this.reshape(weights, [filters * channels, places]), [1, 0]);
    const bounds = [[-1], [-places - 1], [0], [-1]].map((bound) => graph.ints(bound));
    const about = graph.op("Slice", [keptApart(graph, placesFirst), ...bounds]);
    const apart = [places, filters / block, block, channels / block, block];
    const moved = this.transpose(this.reshape(about, apart), [3, 1, 0, 2, 4]);
    return this.reshape(moved, [channels, filters, ...kernel]);
  }

  private transpose(value: Value, perm: number[]): Value {
    return this.graph.op("Transpose", [value], { perm });
  }

  private reshape(value: Value, shape: readonly number[]): Value {
    return this.graph.op("Reshape", [value, this.graph.ints(shape)]);
  }

  /** A node of the runtime's own domain, which has no shape rules. */
  private node(op: string, inputs: readonly Value[], shape: number[], attributes: Attributes = {}): Value {
    const value = this.graph.alias({ name: "", datatype: "FP32", shape }, `blocked_${op.toLowerCase()}`);
    this.graph.nodes.push({
      name: `${op}:${value.name}`,
      op,
      domain: BLOCKED_DOMAIN,
      inputs: inputs.map(({ name }) => name),
      outputs: [value.name],
      attributes,
    });
    return value;
  }
}
