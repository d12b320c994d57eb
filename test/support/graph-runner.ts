/** Runs graphs under test in ONNX Runtime, on one thread, with the file format in between as in production. */

import { InferenceSession, type Tensor as OrtTensor } from "onnxruntime-node";
import type { GraphBuilder } from "../../lib/onnx/builder.ts";
import { opsetsOf } from "../../lib/onnx/channel-blocks.ts";
import type { Graph } from "../../lib/onnx/graph.ts";
import { lowerColumnConv } from "../../lib/onnx/passes/lower-column-conv.ts";
import { lowerSequences } from "../../lib/onnx/passes/lower-sequences.ts";
import { writeModel } from "../../lib/onnx/proto.ts";
import { RandomStream } from "../../lib/random/stream.ts";
import { fromOrt, toOrt } from "../../lib/runtime/ort-tensor.ts";
import type { Datatype, NumericArray } from "../../lib/tensor/datatype.ts";
import { elementCount } from "../../lib/tensor/tensor.ts";

export type Fed = { shape: number[]; data: NumericArray; datatype?: Datatype };
export type Given = { shape: number[]; datatype: Datatype; data: NumericArray };

export class LoadedGraph {
  private readonly session: InferenceSession;

  private constructor(session: InferenceSession) {
    this.session = session;
  }

  static async load(graph: Graph, optimize = true): Promise<LoadedGraph> {
    const bytes = writeModel({ graph, opsets: opsetsOf(graph), producer: "test", metadata: {} });
    const session = await InferenceSession.create(bytes, {
      logSeverityLevel: 4,
      intraOpNumThreads: 1,
      graphOptimizationLevel: optimize ? "all" : "disabled",
    });
    return new LoadedGraph(session);
  }

  /** Feeds are FP32 unless they say otherwise; those the graph does not take are left out. */
  async run(feeds: Readonly<Record<string, Fed>>): Promise<Record<string, Given>> {
    const fed: Record<string, OrtTensor> = {};
    for (const name of this.session.inputNames) {
      const { shape, data, datatype = "FP32" } = feeds[name]!;
      fed[name] = toOrt({ name, datatype, shape, data });
    }
    const found = await this.session.run(fed);
    return Object.fromEntries(
      Object.entries(found).map(([name, value]) => {
        const { shape, datatype, data } = fromOrt(name, value as OrtTensor);
        return [name, { shape, datatype, data: data as NumericArray }];
      }),
    );
  }

  release(): Promise<void> {
    return this.session.release();
  }
}

/** The graph in ONNX's own operators. */
export function lowered(graph: GraphBuilder): Graph {
  lowerColumnConv(graph);
  lowerSequences(graph);
  return graph.build();
}

/** Builds, runs once and frees. */
export async function runOnce(
  graph: GraphBuilder,
  feeds: Readonly<Record<string, Fed>>,
): Promise<Record<string, Given>> {
  const loaded = await LoadedGraph.load(lowered(graph));
  try {
    return await loaded.run(feeds);
  } finally {
    await loaded.release();
  }
}

/** Standard normal values, the same for the same name. */
export function normals(name: string, shape: readonly number[]): Float32Array {
  const random = RandomStream.named(1, name);
  return Float32Array.from({ length: elementCount(shape) }, () => random.normal());
}

/** Every value different from every other by at least `gap`, in random order, about zero. */
export function distinct(name: string, shape: readonly number[], gap: number): Float32Array {
  const order = Uint32Array.from({ length: elementCount(shape) }, (_, i) => i);
  RandomStream.named(1, name).shuffle(order);
  return Float32Array.from(order, (place) => (place - order.length / 2 + 0.5) * gap);
}

/** The largest |a - b| / (1 + |b|), element by element; infinite when lengths differ or a value is no number. */
export function worstError(received: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (received.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [received[i]!, expected[i]!];
    const error = Math.abs(a - b) / (1 + Math.abs(b));
    if (!(error <= worst)) worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
  }
  return worst;
}
