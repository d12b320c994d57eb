/** The tensors one batch is fed through, filled again for every step. */

import type * as ort from "onnxruntime-node";
import type { Column, Examples } from "../data/examples.ts";
import type { RandomInput } from "../nn/layer.ts";
import type { Network } from "../nn/network.ts";
import type { RandomStream } from "../random/stream.ts";
import { toOrt } from "../runtime/ort-tensor.ts";
import { allocate, type NumericArray } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { RandomFeed } from "./random-feed.ts";

export class BatchFeed {
  readonly feeds: Record<string, ort.Tensor> = {};
  private readonly columns: (readonly [Column, NumericArray])[] = [];
  private readonly random: RandomFeed;

  /** `examples` in the order of the network's inputs and outputs, as `bindExamples` gives them. */
  constructor(network: Network, examples: Examples, batchSize: number, randomInputs: readonly RandomInput[]) {
    const { inputs, targets, weights } = examples;
    for (const [i, { name }] of network.inputs.entries()) this.feed(`input/${name}`, inputs[i]!, batchSize);
    for (const [i, { name }] of network.outputs.entries())
      this.feed(`target/${name}`, targets[i]!, batchSize);
    if (weights) this.feed("example_weights", weights, batchSize);
    this.random = new RandomFeed(randomInputs);
    Object.assign(this.feeds, this.random.feeds);
  }

  private feed(name: string, column: Column, batchSize: number): void {
    const { datatype } = column;
    const shape = [batchSize, ...column.shape];
    const data = allocate(datatype, elementCount(shape)) as NumericArray;
    this.feeds[name] = toOrt({ name, datatype, shape, data });
    this.columns.push([column, data]);
  }

  /** Copies the given rows in. */
  fill(rows: Uint32Array): void {
    for (const [column, data] of this.columns) column.gather(rows, data);
  }

  /** Draws every mask and all noise afresh. */
  drawMasks(random: RandomStream): void {
    this.random.draw(random);
  }
}
