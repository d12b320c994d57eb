/**
 * The optimiser's update outside the step graph, for steps on the processor: its own arithmetic compiled into one loop
 * (lib/onnx/wasm/elementwise.ts) over vectors in a memory of its own, which the runtime reads weights from and writes
 * gradients to. Slots change in place; weights go from one of two vectors to the other, so that those from before the
 * last step are there when it diverged.
 */

import { GraphBuilder } from "../onnx/builder.ts";
import type { Graph } from "../onnx/graph.ts";
import { elementwiseModule, STRIDE_BYTES } from "../onnx/wasm/elementwise.ts";
import { WebAssembly } from "../onnx/wasm/engine.ts";
import type { Optimizer } from "../optim/optimizer.ts";
import type { WeightPlan } from "./step-graph.ts";

const PAGE_BYTES = 65_536;
const MAX_PAGES = 65_536;
/** Where vectors begin; a processor reads memory in lines of this size. */
const LINE_BYTES = 64;

export class FusedUpdate {
  /** What a step reads, and what the update writes. */
  readonly weights: readonly [Float32Array, Float32Array];
  readonly gradient: Float32Array;
  readonly slots: readonly Float32Array[];
  private readonly scalars: Float32Array;
  private readonly vectorBytes: number;
  private readonly compute: (...parameters: number[]) => void;

  private constructor(optimizer: Optimizer, size: number, module: object) {
    this.vectorBytes = Math.ceil((size * 4) / STRIDE_BYTES) * STRIDE_BYTES;
    // At full size from the beginning: a memory that grows loses the views on it.
    const pages = pagesFor(optimizer, size);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    let at = 0;
    const vector = (length: number) => {
      const view = new Float32Array(memory.buffer, at, length);
      at += roomFor(length);
      return view;
    };
    this.weights = [vector(size), vector(size)];
    this.gradient = vector(size);
    this.slots = optimizer.slots.map(() => vector(size));
    this.scalars = vector(optimizer.scalarCount);
    const { run } = new WebAssembly.Instance(module, { memory: { memory } }).exports;
    this.compute = run as (...parameters: number[]) => void;
  }

  /**
   * Undefined where the update has to stay in the graph: it is not elementwise (norms, constraints of weights), or its
   * vectors have no room in one memory, or none can be had.
   */
  static for(plan: WeightPlan, optimizer: Optimizer): FusedUpdate | undefined {
    if (plan.trained.some(({ constraint }) => constraint)) return undefined;
    const { size, slices } = plan.trainedLayout;
    if (size === 0 || pagesFor(optimizer, size) > MAX_PAGES) return undefined;
    const sizes = slices.map((slice) => slice.size);
    const bytes = elementwiseModule(updateGraph(optimizer, sizes));
    if (!bytes) return undefined;
    try {
      return new FusedUpdate(optimizer, size, new WebAssembly.Module(bytes));
    } catch (error) {
      // No address space for so much at once; the runtime asks for its own in parts.
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  /** Reads the gradient, the slots and the weights `from`, which stay; writes the slots and the other weights. */
  run(from: Float32Array, scalars: readonly number[]): void {
    const to = this.weights[from === this.weights[0] ? 1 : 0];
    this.scalars.set(scalars);
    const addresses = (vectors: readonly Float32Array[]) => vectors.map((vector) => vector.byteOffset);
    const slots = addresses(this.slots);
    const numbers = scalars.map((_, i) => this.scalars.byteOffset + 4 * i);
    this.compute(
      ...addresses([from, this.gradient]),
      ...slots,
      ...numbers,
      ...addresses([to]),
      ...slots,
      this.vectorBytes,
    );
  }
}

/** One update: weights, gradient, slot/<name>… and scalars in; weights_next and slot_next/<name>… out. */
export function updateGraph(optimizer: Optimizer, sizes: readonly number[]): Graph {
  const graph = new GraphBuilder("update");
  const size = sizes.reduce((a, b) => a + b, 0);
  const weights = graph.input("weights", "FP32", [size]);
  const gradient = graph.input("gradient", "FP32", [size]);
  const slots = optimizer.slots.map((name) => graph.input(`slot/${name}`, "FP32", [size]));
  const scalars = Array.from({ length: optimizer.scalarCount }, (_, i) =>
    graph.input(`scalar${i}`, "FP32", []),
  );
  const next = optimizer.update(graph, { sizes, weights, gradient, slots, scalars });
  graph.output(next.weights, "weights_next");
  for (const [i, name] of optimizer.slots.entries()) graph.output(next.slots[i]!, `slot_next/${name}`);
  return graph.build();
}

function pagesFor({ slots, scalarCount }: Optimizer, size: number): number {
  return Math.ceil(((3 + slots.length) * roomFor(size) + roomFor(scalarCount)) / PAGE_BYTES);
}

/** Bytes of so many float32, up to where the next vector begins. */
function roomFor(length: number): number {
  return Math.ceil((length * 4) / LINE_BYTES) * LINE_BYTES;
}
