/**
 * The tensors that layers ask to have drawn for every step: dropout masks, noise. All from one stream and none kept
 * for later, so that the stream's state is all there is to save.
 */

import * as ort from "onnxruntime-node";
import type { RandomInput } from "../nn/layer.ts";
import type { RandomStream } from "../random/stream.ts";
import { elementCount } from "../tensor/tensor.ts";

export class RandomFeed {
  readonly feeds: Readonly<Record<string, ort.Tensor>>;
  private readonly draws: ((random: RandomStream) => void)[] = [];

  constructor(randomInputs: readonly RandomInput[]) {
    this.feeds = Object.fromEntries(randomInputs.map((input) => [input.name, this.tensorOf(input)]));
  }

  /** Draws every mask and all noise afresh. */
  draw(random: RandomStream): void {
    for (const draw of this.draws) draw(random);
  }

  private tensorOf(input: RandomInput): ort.Tensor {
    const size = elementCount(input.shape);
    if (input.kind === "normal") {
      const noise = new Float32Array(size);
      this.draws.push((random) => random.fillNormal(noise));
      return new ort.Tensor("float32", noise, input.shape);
    }
    const mask = new Uint8Array(size);
    this.draws.push((random) => random.fillChosen(mask, 1 - input.rate));
    return new ort.Tensor("bool", mask, input.shape);
  }
}
