/** The model that every contestant serves: what Moiety has published, and what onnxruntime makes of the images. */

import type { ModelVersion } from "../lib/protocol/models.ts";
import { openStore } from "../lib/store/open-store.ts";
import type { DigitImage } from "./mnist.ts";
import { openReferenceModel } from "./reference-model.ts";

/** The example's. */
export const MODEL = "mnist";

/** The ONNX file of the version that a data directory's store holds of the example model. */
export async function publishedModel(directory: string): Promise<Uint8Array> {
  const store = await openStore({ kind: "files", directory });
  try {
    for (const key of await store.records.keys("")) {
      const value = (await store.records.get<Partial<ModelVersion>>(key))?.value;
      if (value?.model === MODEL && value.artifacts)
        return await store.artifacts.get(value.artifacts.onnx.digest);
    }
    throw new Error(`no published version of ${MODEL} in ${directory}`);
  } finally {
    await store.close();
  }
}

/** What the model says each image shows, by onnxruntime alone, one image at a time. */
export async function referenceDigits(onnx: string, images: readonly DigitImage[]): Promise<number[]> {
  const model = await openReferenceModel(onnx, 1);
  try {
    const digits: number[] = [];
    for (const { pixels } of images) {
      const scores = await model.scores(pixels);
      digits.push(scores.indexOf(Math.max(...scores)));
    }
    return digits;
  } finally {
    await model.close();
  }
}
