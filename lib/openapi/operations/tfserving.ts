/** Operations of TensorFlow Serving's REST API. */

import { forEach, type Operations, ok } from "../operation.ts";
import { ref } from "../schema.ts";
import { PREDICTION_HEADERS } from "./prediction-headers.ts";

const tag = "TensorFlow Serving";

const MODEL = "/v1/models/{model}";
const PLACES = [MODEL, `${MODEL}/versions/{version}`, `${MODEL}/labels/{label}`];
const of = (key: string) => {
  if (key.includes("{version}")) return " of a version";
  return key.includes("{label}") ? " of the version behind a label" : "";
};
const verb = (name: string) => PLACES.map((place) => `POST ${place}:${name}`);

export const SERVING_OPERATIONS: Operations = {
  ...forEach(
    verb("predict"),
    {
      tag,
      summary: "Prediction, in rows or in columns",
      headers: PREDICTION_HEADERS,
      request: { content: ref("PredictRequest"), example: { instances: [1, 2, 5] } },
      answers: ok("Predictions for instances, outputs for inputs", ref("PredictResponse")),
    },
    of,
  ),
  ...forEach(
    verb("classify"),
    {
      tag,
      summary: "Classes of examples",
      headers: PREDICTION_HEADERS,
      request: { content: ref("ExampleRequest"), example: { examples: [{ x: [1, 2] }] } },
      answers: ok("Labels and scores of each example", ref("ClassifyResponse")),
    },
    of,
  ),
  ...forEach(
    verb("regress"),
    {
      tag,
      summary: "A number per example",
      headers: PREDICTION_HEADERS,
      request: { content: ref("ExampleRequest"), example: { examples: [{ x: 1 }, { x: 2 }] } },
      answers: ok("A number per example", ref("RegressResponse")),
    },
    of,
  ),
  "GET /v1/models": { tag, summary: "Names of all models", answers: ok("As KServe", ref("ServingModels")) },
  ...forEach(
    PLACES.map((place) => `GET ${place}`),
    { tag, summary: "Status", answers: ok("Newest version first", ref("ServingStatus")) },
    of,
  ),
  ...forEach(
    PLACES.map((place) => `GET ${place}/metadata`),
    { tag, summary: "Signatures", answers: ok("As protobuf prints them", ref("ServingMetadata")) },
    of,
  ),
};
