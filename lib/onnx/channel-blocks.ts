/**
 * Convolution in ONNX Runtime's own layout for CPUs, in which a block of channels lies together, [N, C/block, H, W,
 * block]: its fastest, up to two and a half times as fast here as a transposed convolution. The runtime itself only uses it for
 * weights that are constant; in training they are not, so the nodes are written here (operators of the domain
 * com.microsoft.nchwc; weights as [F/block, C/block, KH, KW, block of C, block of F]). The size of a block depends on
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
    const kernels = options.turned ? this.turned(weights) : this.blocked(weights);
    const images = graph.op("Transpose", [x], { perm: SWAP_BATCH_AND_CHANNELS });
    const apart = this.node("ReorderInput", [images], images.shape as number[]);
    const inputs = [apart, kernels, ...(options.bias ? [options.bias] : [])];
    const shape = [batch, filters, ...size];
    const product = this.node("Conv", inputs, shape, options.window);
    const together = this.node("ReorderOutput", [product], shape, { channels: filters });
    return graph.op("Transpose", [together], { perm: SWAP_BATCH_AND_CHANNELS });
  }

  private blocked(weights: Value): Value {
    return this.reordered(weights, [0, 2, 4, 5, 3, 1], weights.shape as number[]);
  }

  private turned(weights: Value): Value {
    const { graph } = this;
    const [filters, channels, ...kernel] = weights.shape as [number, number, number, number];
    const [starts, ends] = [graph.ints([-1, -1]), graph.ints(kernel.map((size) => -size - 1))];
    const bounds = [starts, ends, graph.ints([2, 3]), graph.ints([-1, -1])];
    const about = graph.op("Slice", [weights, ...bounds]);
    return this.reordered(about, [2, 0, 4, 5, 1, 3], [channels, filters, ...kernel]);
  }

  private reordered(weights: Value, perm: number[], shape: number[]): Value {
    const { graph, block } = this;
    const [first, second, ...kernel] = weights.shape as [number, number, number, number];
    const sizes = graph.ints([first / block, block, second / block, block, ...kernel]);
    const moved = graph.op("Transpose", [graph.op("Reshape", [weights, sizes])], { perm });
    return graph.op("Reshape", [moved, graph.ints(shape)]);
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
