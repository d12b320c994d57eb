/** The tensors one batch is fed through, filled again for every step. */

import * as ort from "onnxruntime-node";
import type { Examples } from "../data/examples.ts";
import type { RandomInput } from "../nn/layer.ts";
import type { Network } from "../nn/network.ts";
import type { RandomStream } from "../random/stream.ts";
import { toOrt } from "../runtime/ort-tensor.ts";
import { allocate, type Datatype, type NumericArray } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";

export class BatchFeed {
  readonly feeds: Record<string, ort.Tensor>;
  private readonly features: NumericArray;
  private readonly labels: BigInt64Array;
  private readonly masks: { keep: number; data: Uint8Array }[];

  constructor(
    network: Network,
    featureType: Datatype,
    batchSize: number,
    randomInputs: readonly RandomInput[],
  ) {
    const shape = [batchSize, ...network.inputs[0]!.shape];
    this.features = allocate(featureType, elementCount(shape)) as NumericArray;
    this.labels = new BigInt64Array(batchSize);
    const tensors = randomInputs.map(
      (input) => new ort.Tensor("bool", new Uint8Array(elementCount(input.shape)), input.shape),
    );
    this.masks = randomInputs.map((input, i) => ({
      keep: 1 - input.rate,
      data: tensors[i]!.data as Uint8Array,
    }));
    this.feeds = {
      features: toOrt({ name: "features", datatype: featureType, shape, data: this.features }),
      labels: new ort.Tensor("int64", this.labels, [batchSize]),
      ...Object.fromEntries(randomInputs.map((input, i) => [input.name, tensors[i]!])),
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

  /** Draws every mask afresh. */
  drawMasks(random: RandomStream): void {
    for (const { keep, data } of this.masks) {
      const limit = Math.round(keep * 2 ** 32);
      for (let i = 0; i < data.length; i++) data[i] = random.uint32() < limit ? 1 : 0;
    }
  }
}
