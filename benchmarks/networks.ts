/**
 * The networks `bench:train` trains, as Keras JSON, with the batch size and how MNIST's pixels become what each takes.
 * The Python contestants declare the same networks in contestants/networks.py; the benchmark compares the numbers of
 * trained parameters.
 */

import { IMAGE_PIXELS } from "./mnist.ts";

type Layer = { class_name: string; config: Record<string, unknown>; inbound_nodes?: unknown };

export type BenchmarkNetwork = {
  /** What it is, for people. */
  about: string;
  batchSize: number;
  /** One example, uint8. */
  shape: number[];
  architecture: { class_name: string; config: Record<string, unknown> };
  /** Steps between two measurements, about a second's worth. */
  stepsPerRound: number;
  warmUpSteps: number;
  /** Largest mean loss of the last round: a network that guesses has ln 10 = 2.3. */
  maxLoss: number;
};

const SIDE = 28;
const PADDED_SIDE = 32;

const layer = (class_name: string, config: Record<string, unknown> = {}): Layer => ({ class_name, config });
const rescaling = layer("Rescaling", { scale: 1 / 255 });
const scores = layer("Dense", { name: "scores", units: 10, activation: "softmax" });
const conv = (filters: number, padding = "valid") =>
  layer("Conv2D", { filters, kernel_size: 3, padding, activation: "relu" });
const pool = layer("MaxPooling2D", { pool_size: 2 });
const dense = (units: number) => layer("Dense", { units, activation: "relu" });

function sequential(shape: number[], ...layers: Layer[]): BenchmarkNetwork["architecture"] {
  const input = layer("InputLayer", { name: "x", batch_shape: [null, ...shape] });
  const named = [input, rescaling, ...layers, scores].map((each, i) => ({
    class_name: each.class_name,
    config: { name: `layer_${i}`, ...each.config },
  }));
  return { class_name: "Sequential", config: { name: "net", layers: named } };
}

const CNN = {
  shape: [SIDE, SIDE, 1],
  architecture: sequential([SIDE, SIDE, 1], conv(32), pool, conv(64), pool, layer("Flatten")),
  maxLoss: 0.25,
};

/** Two blocks of post-norm self-attention over rows of eight pixels, learnt positions, mean over the steps. */
function transformer(): BenchmarkNetwork["architecture"] {
  const size = 128;
  const layers: Layer[] = [];
  /** Adds a layer that reads the layers named; gives its name. */
  const add = (
    name: string,
    class_name: string,
    config: Record<string, unknown>,
    inputs: readonly string[],
    keywords: Record<string, unknown> = {},
  ): string => {
    const inbound_nodes = inputs.length === 0 ? [] : [inputs.map((from) => [from, 0, 0, keywords])];
    layers.push({ class_name, config: { name, ...config }, inbound_nodes });
    return name;
  };
  add("x", "InputLayer", { batch_shape: [null, 128, 8] }, []);
  add("scaled", "Rescaling", rescaling.config, ["x"]);
  add("tokens", "Dense", { units: size }, ["scaled"]);
  add("positions", "PositionEmbedding", { sequence_length: 128 }, ["tokens"]);
  let value = add("placed", "Add", {}, ["tokens", "positions"]);
  for (const block of ["first", "second"]) {
    const attention = { num_heads: 4, key_dim: size / 4 };
    const attended = add(`${block}_attention`, "MultiHeadAttention", attention, [value], {
      value: [value, 0, 0],
    });
    const sum = add(`${block}_sum`, "Add", {}, [value, attended]);
    const norm = add(`${block}_norm`, "LayerNormalization", { epsilon: 1e-5 }, [sum]);
    const wide = add(`${block}_wide`, "Dense", { units: 4 * size, activation: "relu" }, [norm]);
    const narrow = add(`${block}_narrow`, "Dense", { units: size }, [wide]);
    const total = add(`${block}_total`, "Add", {}, [norm, narrow]);
    value = add(`${block}_out`, "LayerNormalization", { epsilon: 1e-5 }, [total]);
  }
  add("mean", "GlobalAveragePooling1D", {}, [value]);
  add("scores", "Dense", scores.config, ["mean"]);
  const ends = { input_layers: [["x", 0, 0]], output_layers: [["scores", 0, 0]] };
  return { class_name: "Functional", config: { name: "net", layers, ...ends } };
}

export const NETWORKS: Readonly<Record<string, BenchmarkNetwork>> = {
  cnn32: {
    about: "conv 32 3x3 relu, max-pool 2, conv 64 3x3 relu, max-pool 2, flatten, dense 10; batch 32",
    batchSize: 32,
    stepsPerRound: 208,
    warmUpSteps: 320,
    ...CNN,
  },
  cnn128: {
    about: "the same with batches of 128",
    batchSize: 128,
    stepsPerRound: 64,
    warmUpSteps: 96,
    ...CNN,
  },
  mlp: {
    about: "dense 512 relu, dense 512 relu, dense 10; batch 32",
    batchSize: 32,
    shape: [IMAGE_PIXELS],
    architecture: sequential([IMAGE_PIXELS], dense(512), dense(512)),
    stepsPerRound: 304,
    warmUpSteps: 320,
    maxLoss: 0.25,
  },
  vgg: {
    about:
      "2 x conv 32, pool, 2 x conv 64, pool, 2 x conv 128, pool (3x3, same, relu), dense 320, dense 10; 32x32x3; batch 32",
    batchSize: 32,
    shape: [PADDED_SIDE, PADDED_SIDE, 3],
    architecture: sequential(
      [PADDED_SIDE, PADDED_SIDE, 3],
      ...[32, 64, 128].flatMap((filters) => [conv(filters, "same"), conv(filters, "same"), pool]),
      layer("Flatten"),
      dense(320),
    ),
    stepsPerRound: 32,
    warmUpSteps: 64,
    maxLoss: 1.2,
  },
  lstm: {
    about: "LSTM 128 over 100 steps of 7 pixels, dense 10; batch 32",
    batchSize: 32,
    shape: [100, 7],
    architecture: sequential([100, 7], layer("LSTM", { units: 128 })),
    stepsPerRound: 32,
    warmUpSteps: 64,
    maxLoss: 2.2,
  },
  transformer: {
    about: "2 blocks, d 128, 4 heads, feed-forward 512, over 128 steps of 8 pixels, mean, dense 10; batch 32",
    batchSize: 32,
    shape: [128, 8],
    architecture: transformer(),
    stepsPerRound: 16,
    warmUpSteps: 32,
    maxLoss: 2.2,
  },
};

/** MNIST's images [count, 28, 28] as a network takes them: padded to 32x32 with their channel thrice, cut or as they are. */
export function pixelsFor(net: string, images: Uint8Array): Uint8Array {
  const count = images.length / IMAGE_PIXELS;
  if (net === "lstm") return eachImage(images, 700, (image, out) => out.set(image.subarray(0, 700)));
  if (net !== "vgg" && net !== "transformer") return images;
  const channels = net === "vgg" ? 3 : 1;
  const margin = (PADDED_SIDE - SIDE) / 2;
  const size = PADDED_SIDE * PADDED_SIDE * channels;
  const padded = new Uint8Array(count * size);
  for (let i = 0; i < images.length; i++) {
    const [image, pixel] = [Math.floor(i / IMAGE_PIXELS), i % IMAGE_PIXELS];
    const row = Math.floor(pixel / SIDE) + margin;
    const at = image * size + (row * PADDED_SIDE + (pixel % SIDE) + margin) * channels;
    for (let channel = 0; channel < channels; channel++) padded[at + channel] = images[i]!;
  }
  return padded;
}

function eachImage(
  images: Uint8Array,
  size: number,
  copy: (image: Uint8Array, out: Uint8Array) => void,
): Uint8Array {
  const count = images.length / IMAGE_PIXELS;
  const out = new Uint8Array(count * size);
  for (let i = 0; i < count; i++)
    copy(images.subarray(i * IMAGE_PIXELS, (i + 1) * IMAGE_PIXELS), out.subarray(i * size, (i + 1) * size));
  return out;
}
