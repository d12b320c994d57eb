/**
 * Layers that take the places of TensorFlow.js's: Dropout that draws its masks from the run's own stream, so that a
 * run is repeatable and can go on in the middle; BatchNormalization that is frozen, which goes by its statistics in
 * training too, as in Keras; and Flatten of what is flat already, which TensorFlow.js refuses.
 */

import type * as Core from "@tensorflow/tfjs-core";
import { RandomStream } from "../../random/stream.ts";
import { RandomFeed } from "../random-feed.ts";
import type { Tfjs } from "./load-tfjs.ts";
import { DROPOUT, FLATTEN, FROZEN_BATCH_NORMALIZATION } from "./translate-model.ts";

type Tensor = Core.Tensor;
/** Sizes; null where they may vary. */
type Shape = (number | null)[];
type Kwargs = Record<string, unknown>;

/** Where the masks of a run come from: one stream, in the order in which layers are applied. */
export class MaskSource {
  stream: RandomStream;

  constructor(seed: number) {
    this.stream = RandomStream.named(seed, "dropout");
  }

  /** One with probability 1 - rate, else nought. */
  draw(tf: Tfjs, rate: number, shape: number[]): Tensor {
    const feed = new RandomFeed([{ kind: "keep", rate, name: "mask", shape }]);
    feed.draw(this.stream);
    return tf.tensor(Float32Array.from(feed.feeds.mask!.data as Uint8Array), shape);
  }
}

/** Registers the layers with a copy of TensorFlow.js; `masks` is asked by every Dropout that is made afterwards. */
export function registerOwnLayers(tf: Tfjs, masks: MaskSource): void {
  class StreamDropout extends tf.layers.Layer {
    static readonly className = DROPOUT;
    private readonly rate: number;

    constructor(config: { rate: number }) {
      super(config as object);
      this.rate = config.rate;
    }

    override call(inputs: Tensor | Tensor[], kwargs: Kwargs): Tensor {
      const x = Array.isArray(inputs) ? inputs[0]! : inputs;
      if (kwargs.training !== true || this.rate === 0) return x;
      return tf.tidy(() => tf.div(tf.mul(x, masks.draw(tf, this.rate, [...x.shape])), 1 - this.rate));
    }
  }
  const Normalization = tf.layers.batchNormalization().constructor as unknown as new (
    config: object,
  ) => { call(inputs: Tensor | Tensor[], kwargs: Kwargs): Tensor | Tensor[] };
  class FrozenBatchNormalization extends Normalization {
    static readonly className = FROZEN_BATCH_NORMALIZATION;

    override call(inputs: Tensor | Tensor[], kwargs: Kwargs): Tensor | Tensor[] {
      return super.call(inputs, { ...kwargs, training: false });
    }
  }
  class AnyFlatten extends tf.layers.Layer {
    static readonly className = FLATTEN;

    override computeOutputShape(shape: Shape | Shape[]): Shape {
      const [batch, ...sizes] = shape as Shape;
      return [batch, sizes.reduce((a, b) => a! * b!, 1)] as Shape;
    }

    override call(inputs: Tensor | Tensor[]): Tensor {
      const x = Array.isArray(inputs) ? inputs[0]! : inputs;
      return tf.reshape(x, [x.shape[0]!, -1]);
    }
  }
  type Registered = Parameters<Tfjs["serialization"]["registerClass"]>[0];
  tf.serialization.registerClass(StreamDropout as unknown as Registered);
  tf.serialization.registerClass(AnyFlatten as unknown as Registered);
  tf.serialization.registerClass(FrozenBatchNormalization as unknown as Registered);
}
