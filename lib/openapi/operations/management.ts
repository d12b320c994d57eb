/** Operations of the management API, and the prediction for images. */

import { JOB_STATES } from "../../protocol/jobs.ts";
import { type Operation, type Operations, ok } from "../operation.ts";
import { arrayOf, enumOf, integer, ref, string } from "../schema.ts";
import { PREDICTION_HEADERS } from "./prediction-headers.ts";

const tag = "Management";

const accepted = (description: string): Operation["answers"] => ({
  202: { description, content: ref("Job") },
});

export const MANAGEMENT_OPERATIONS: Operations = {
  "POST /predict": {
    tag: "Images",
    summary: "Classes of an image, or of a batch",
    headers: PREDICTION_HEADERS,
    request: { content: ref("ImageRequest") },
    answers: ok("Class and probabilities; arrays of them for a batch", ref("ImageResponse")),
  },
  "GET /api/models": { tag, summary: "Every model", answers: ok("By name", arrayOf(ref("Model"))) },
  "GET /api/models/{model}": { tag, summary: "One model", answers: ok("It", ref("Model")) },
  "GET /api/models/{model}/versions/{version}": {
    tag,
    summary: "One version",
    answers: ok("Its signature, metrics and lineage", ref("ModelVersion")),
  },
  "POST /api/models/{model}/versions": {
    tag,
    summary: "Publish an ensemble",
    description: "As the next version of the model. Its steps are other models, by name, and operators.",
    request: {
      content: ref("EnsemblePublication"),
      example: {
        ensemble: {
          inputs: [{ name: "image", datatype: "UINT8", shape: [-1, 28, 28, 1] }],
          outputs: [{ name: "digit", datatype: "INT64", shape: [-1] }],
          steps: [
            {
              name: "prepare",
              operators: [{ operator: "cast", to: "FP32", inputs: ["image"], outputs: ["pixels"] }],
            },
            {
              name: "classify",
              model: "mnist",
              inputs: { image: "pixels" },
              outputs: { probabilities: "scores" },
            },
            { name: "decide", operators: [{ operator: "argMax", inputs: ["scores"], outputs: ["digit"] }] },
          ],
        },
      },
    },
    answers: { 201: { description: "The version, and its place as Location", content: ref("ModelVersion") } },
  },
  "GET /api/models/{model}/versions/{version}/ensemble": {
    tag,
    summary: "What an ensemble is made of",
    answers: ok("As it was published", ref("Ensemble")),
  },
  "PUT /api/models/{model}/aliases/{alias}": {
    tag,
    summary: "Move an alias",
    request: { content: ref("AliasTarget"), example: { version: 2 } },
    answers: ok("The model", ref("Model")),
  },
  "PUT /api/models/{model}/configuration": {
    tag,
    summary: "Say how a model is served",
    request: { content: ref("ModelConfiguration"), example: { batching: { maxRows: 64 } } },
    answers: ok("The model", ref("Model")),
  },
  "GET /api/models/{model}/rollout": {
    tag,
    summary: "A model's canary and shadow, and what they have come to",
    answers: ok("On every node that serves it", ref("RolloutStatus")),
  },
  "PUT /api/models/{model}/rollout": {
    tag,
    summary: "Try a version beside production",
    description:
      "Replaces the canary and the shadow. A canary answers part of the requests that name no version; a shadow is sent copies, and its answers are compared.",
    request: {
      content: ref("Rollout"),
      example: { canary: { version: 2, weight: 0.1, bounds: { errorRate: 0.02, latencyRatio: 2 } } },
    },
    answers: ok("The model", ref("Model")),
  },
  "DELETE /api/models/{model}/rollout": {
    tag,
    summary: "End canary and shadow",
    answers: ok("The model", ref("Model")),
  },
  "GET /api/jobs": {
    tag,
    summary: "Training jobs",
    query: [
      { name: "state", description: "Only those in this state", schema: enumOf(JOB_STATES) },
      { name: "limit", description: "At most so many", schema: integer(1, 1000) },
    ],
    answers: ok("Newest first", arrayOf(ref("Job"))),
  },
  "POST /api/jobs": {
    tag,
    summary: "Train a network",
    request: { content: ref("TrainingRequest") },
    answers: accepted("The queued job, and its place as Location"),
  },
  "GET /api/jobs/{id}": { tag, summary: "One job", answers: ok("It", ref("Job")) },
  "DELETE /api/jobs/{id}": {
    tag,
    summary: "Cancel a job",
    answers: accepted("It will stop before its next step"),
  },
  "POST /api/jobs/{id}/cancel": {
    tag,
    summary: "Cancel a job, as DELETE does",
    answers: accepted("It will stop before its next step"),
  },
  "GET /api/jobs/{id}/events": {
    tag,
    summary: "What becomes of a job, as it happens",
    description:
      "The events job, progressed, epochCompleted, stageChanged and ended; the stream ends with the job.",
    answers: ok("Server-sent events", { byType: { "text/event-stream": string } }),
  },
};
