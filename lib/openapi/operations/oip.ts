/** Operations of the Open Inference Protocol. */

import {
  BINARY_TYPE,
  forEach,
  JSON_TYPE,
  type Operation,
  type Operations,
  ok,
  type RequestContent,
} from "../operation.ts";
import { arrayOf, boolean, integer, object, open, ref, type Schema, string } from "../schema.ts";
import { PREDICTION_HEADERS } from "./prediction-headers.ts";

const tag = "Open Inference Protocol";
const ofVersion = (key: string) => (key.includes("{version}") ? " of a version" : "");

const readiness = (what: string): Operation["answers"] => ({
  200: { description: `${what} is ready`, content: ref("Readiness") },
  503: { description: `${what} is not ready, and why`, content: ref("Readiness") },
});

const repositoryRequest = (parameters: Readonly<Record<string, Schema>>): RequestContent => ({
  required: false,
  content: open(object({}, { parameters: object({}, parameters) })),
});

const statistics = ok(
  "Statistics, all nodes added up",
  object({ model_stats: arrayOf(ref("ModelStatistics")) }),
);

const generateRequest: RequestContent = { content: ref("GenerateRequest"), example: { x: [1, 2, 3] } };

export const OIP_OPERATIONS: Operations = {
  "GET /v2": {
    tag,
    summary: "Server metadata",
    answers: ok("Name, version, extensions", ref("ServerMetadata")),
  },
  "GET /v2/health/live": {
    tag,
    summary: "Whether the process lives",
    answers: ok("It does", object({ live: boolean })),
  },
  "GET /v2/health/ready": {
    tag,
    summary: "Whether the server is ready",
    answers: readiness("The server"),
  },
  ...forEach(
    ["GET /v2/models/{model}", "GET /v2/models/{model}/versions/{version}"],
    { tag, summary: "Metadata", answers: ok("Inputs, outputs, loaded versions", ref("OipModelMetadata")) },
    ofVersion,
  ),
  ...forEach(
    ["GET /v2/models/{model}/ready", "GET /v2/models/{model}/versions/{version}/ready"],
    { tag, summary: "Readiness", answers: readiness("The model") },
    ofVersion,
  ),
  ...forEach(
    ["POST /v2/models/{model}/infer", "POST /v2/models/{model}/versions/{version}/infer"],
    {
      tag,
      summary: "Prediction",
      description:
        "With the header Inference-Header-Content-Length, that many bytes of JSON and then the tensors' binary data; with 0, the data of the only input.",
      headers: [
        {
          name: "Inference-Header-Content-Length",
          description: "Length of the JSON in bytes, where binary data follow",
          schema: integer(0),
        },
        ...PREDICTION_HEADERS,
      ],
      request: {
        content: { byType: { [JSON_TYPE]: ref("InferRequest"), [BINARY_TYPE]: {} } },
        example: { inputs: [{ name: "x", shape: [1, 3], datatype: "FP32", data: [1, 2, 3] }] },
      },
      answers: ok("The outputs", { byType: { [JSON_TYPE]: ref("InferResponse"), [BINARY_TYPE]: {} } }),
    },
    ofVersion,
  ),
  ...forEach(
    ["POST /v2/models/{model}/generate", "POST /v2/models/{model}/versions/{version}/generate"],
    {
      tag,
      summary: "Prediction by names",
      headers: PREDICTION_HEADERS,
      request: generateRequest,
      answers: ok("Outputs by name", ref("GenerateResponse")),
    },
    ofVersion,
  ),
  ...forEach(
    ["POST /v2/models/{model}/generate_stream", "POST /v2/models/{model}/versions/{version}/generate_stream"],
    {
      tag,
      summary: "Prediction by names, as a server-sent event",
      headers: PREDICTION_HEADERS,
      request: generateRequest,
      answers: ok("One event: the outputs by name", { byType: { "text/event-stream": string } }),
    },
    ofVersion,
  ),
  "GET /v2/models/stats": { tag, summary: "Statistics of all models", answers: statistics },
  ...forEach(
    ["GET /v2/models/{model}/stats", "GET /v2/models/{model}/versions/{version}/stats"],
    { tag, summary: "Statistics", answers: statistics },
    ofVersion,
  ),
  ...forEach(
    ["GET /v2/models/{model}/config", "GET /v2/models/{model}/versions/{version}/config"],
    { tag, summary: "Configuration", answers: ok("In Triton's terms", ref("TritonModelConfig")) },
    ofVersion,
  ),
  "POST /v2/repository/index": {
    tag,
    summary: "Every version of every model, and its state",
    request: { required: false, content: open(object({}, { ready: boolean })), example: { ready: true } },
    answers: ok("The index", arrayOf(ref("IndexEntry"))),
  },
  "POST /v2/repository/models/{model}/load": {
    tag,
    summary: "Put a model into service",
    request: repositoryRequest({}),
    answers: ok("Every node has it", object({})),
  },
  "POST /v2/repository/models/{model}/unload": {
    tag,
    summary: "Take a model out of service",
    request: repositoryRequest({ unload_dependents: boolean }),
    answers: ok("No node has it any more", object({})),
  },
};
