/** Worker thread of the bare server: says what elements the model takes; then pixels of a batch in, class scores out. */

import { parentPort, workerData } from "node:worker_threads";
import { openReferenceModel } from "../reference-model.ts";

const model = await openReferenceModel((workerData as { model: string }).model, 1);
const port = parentPort!;
port.on("message", async (pixels: Uint8Array | Float32Array) => {
  const scores = await model.scores(pixels);
  port.postMessage(scores, [scores.buffer as ArrayBuffer]);
});
port.postMessage(model.elementType);
