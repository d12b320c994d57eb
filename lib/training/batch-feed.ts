/** The tensors one batch is fed through, filled again for every step. */

import * as ort from "onnxruntime-node";
import type { Examples } from "../data/examples.ts";
import type { RandomInput } from "../nn/layer.ts";
import type { Network } from "../nn/network.ts";
import type { RandomStream } from "../random/stream.ts";
import { toOrt } from "../runtime/ort-tensor.ts";
import { allocate, type Datatype, type NumericArray } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { RandomFeed } from "./random-feed.ts";

export class BatchFeed {
  readonly feeds: Record<string, ort.Tensor>;
  private readonly features: NumericArray;
  private readonly labels: BigInt64Array;
  private readonly random: RandomFeed;

  constructor(
    network: Network,
    featureType: Datatype,
    batchSize: number,
    randomInputs: readonly RandomInput[],
  ) {
    const shape = [batchSize, ...network.inputs[0]!.shape];
    this.features = allocate(featureType, elementCount(shape)) as NumericArray;
    this.labels = new BigInt64Array(batchSize);
    this.random = new RandomFeed(randomInputs);
    this.feeds = {
      features: toOrt({ name: "features", datatype: featureType, shape, data: this.features }),
      labels: new ort.Tensor("int64", this.labels, [batchSize]),
      ...this.random.feeds,
    };
  }

  /** Copies the given rows of `examples` in. */
  fill(examples: Examples, rows: Uint32Array): void {
    const size = this.features.length / rows.length;
    const source = examples.features as Float32Array;
    const target = this.features as Float32Array;
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!;
      target.set(source.subarray(row * size, (row + 1) * size), i * size);
      this.labels[i] = BigInt(examples.labels[row]!);
    }
  }

  /** Draws every mask and all noise afresh. */
  drawMasks(random: RandomStream): void {
    this.random.draw(random);
  }
}
