/** The examples by name; each is loaded when it is asked for. */

import type { Example } from "./example.ts";

export const EXAMPLES = {
  "mnist-cnn": () => import("./mnist-cnn/example.ts"),
  "fashion-mnist-cnn": () => import("./fashion-mnist-cnn/example.ts"),
  "table-mlp": () => import("./table-mlp/example.ts"),
  "fine-tune": () => import("./fine-tune/example.ts"),
  autoencoder: () => import("./autoencoder/example.ts"),
  "forecast-lstm": () => import("./forecast-lstm/example.ts"),
  "spam-lstm": () => import("./spam-lstm/example.ts"),
  "spam-transformer": () => import("./spam-transformer/example.ts"),
} as const satisfies Record<string, () => Promise<{ default: Example }>>;

export type ExampleName = keyof typeof EXAMPLES;
