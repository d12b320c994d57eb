/** What /api and /predict take and give: models, jobs, images. */

import { ENGINES, JOB_STAGES, JOB_STATES } from "../../protocol/jobs.ts";
import { EXECUTION_PROVIDERS } from "../../protocol/model-configuration.ts";
import {
  any,
  arrayOf,
  between,
  boolean,
  described,
  either,
  enumOf,
  integer,
  mapOf,
  matching,
  number,
  object,
  open,
  ref,
  type Schema,
  string,
} from "../schema.ts";

const modelName = matching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);
const time = described("ISO 8601, UTC", string);
const names = mapOf(string);
const numbersByName = mapOf(number);
const loss = either(string, ref("KerasObject"));
const score = object({ loss: number }, { accuracy: number });

export const MANAGEMENT_SCHEMAS: Readonly<Record<string, Schema>> = {
  ImageRequest: object(
    {
      image: described("One image or a batch of them, nested or flat", ref("ImageValues")),
    },
    {
      scale: described("The largest value a pixel may have", { enum: [255, 1], default: 255 }),
      model: string,
      version: either(string, integer(1)),
      cache: described("false: neither read nor write the prediction cache", boolean),
    },
  ),
  ImageValues: arrayOf(either(number, ref("ImageValues"))),
  ImageResponse: object(
    {
      prediction: described(
        "Index of the most probable class; of each image of a batch",
        either(integer(0), arrayOf(integer(0))),
      ),
      probabilities: either(arrayOf(number), arrayOf(arrayOf(number))),
      model: string,
      version: string,
    },
    { label: either(string, arrayOf(string)) },
  ),
  Artifact: object({ digest: string, size: integer(0) }),
  Model: open(
    object(
      {
        model: modelName,
        createdAt: time,
        versions: arrayOf(integer(1)),
        latestVersion: integer(1),
        aliases: mapOf(integer(1)),
      },
      {
        configuration: ref("ModelConfiguration"),
        rollout: ref("RolloutRecord"),
        rollbacks: arrayOf(ref("RollBack")),
      },
    ),
  ),
  ModelVersion: object(
    {
      model: modelName,
      version: integer(1),
      createdAt: time,
      artifacts: open(object({ onnx: ref("Artifact") }, { checkpoint: ref("Artifact") })),
      signature: object({ inputs: arrayOf(ref("TensorSpec")), outputs: arrayOf(ref("TensorSpec")) }),
      labels: arrayOf(string),
    },
    {
      format: described("What the file is; onnx where it is not said", enumOf(["onnx", "ensemble"])),
      metrics: described("What it scored on the test set", mapOf(any)),
      lineage: described("Where it came from: data, seed, network, software", mapOf(any)),
    },
  ),
  ModelConfiguration: open(
    object(
      {},
      {
        batching: object({}, { maxRows: integer(1, 4096), queueDelayMs: between(0, 1000) }),
        queue: object(
          {},
          {
            maxRequests: integer(1, 1_000_000),
            timeoutMs: between(1, 600_000),
            priorityLevels: integer(1, 1000),
            defaultPriority: integer(1, 1000),
            whenFull: described(
              "What happens to a request that finds the queue full",
              enumOf(["reject", "delay"]),
            ),
          },
        ),
        instances: described(
          "Worker threads that hold the model, and threads that one run uses",
          object({}, { workers: integer(1, 256), intraOpThreads: integer(1, 256) }),
        ),
        provider: described("What computes", enumOf(EXECUTION_PROVIDERS)),
        warmup: described(
          "Run on every instance before a version answers",
          arrayOf(ref("WarmupRequest"), { maxItems: 16 }),
        ),
        labels: described(
          "Names of classes, in place of those it was published with",
          arrayOf(string, { maxItems: 100_000 }),
        ),
        versions: described(
          "Loaded besides those that aliases point to",
          either(
            { const: "all" },
            object({ latest: integer(1) }),
            object({ numbers: arrayOf(integer(1), { maxItems: 1000 }) }),
          ),
        ),
        cache: object(
          {},
          { enabled: boolean, ttlSeconds: integer(1, 31_536_000), maxBytes: integer(0, 2 ** 40) },
        ),
      },
    ),
  ),
  WarmupRequest: object(
    {},
    {
      rows: described("Of inputs whose shape is not given", integer(1, 4096)),
      count: described("How often it is run", integer(1, 1000)),
      inputs: described(
        "By name; what is left out is zeros",
        mapOf(
          object(
            {
              values: either(
                enumOf(["zeros", "random"]),
                arrayOf(either(number, boolean, string), { maxItems: 1_000_000 }),
              ),
            },
            { shape: arrayOf(integer(1), { maxItems: 16 }) },
          ),
        ),
      ),
    },
  ),
  AliasTarget: open(object({ version: integer(1) })),
  KerasObject: described(
    "A class and its options, as Keras serialises them",
    open(object({ class_name: string }, { config: mapOf(any) })),
  ),
  TrainingRequest: object(
    {
      model: described("Name the result is published under", modelName),
      architecture: described(
        "Keras JSON, as an object or as text",
        either(open(object({ class_name: string })), string),
      ),
      data: object(
        { dataset: string },
        {
          trainLimit: integer(1),
          testLimit: integer(1),
          validationSplit: { type: "number", minimum: 0, exclusiveMaximum: 1, default: 0 },
          inputs: described("Column of each input of the network", names),
          targets: described("Column each output is compared with", names),
        },
      ),
    },
    {
      loss: described(
        "One, a list in the order of the outputs, or one by output",
        either(loss, arrayOf(loss), mapOf(loss)),
      ),
      lossWeights: either(arrayOf(number), numbersByName),
      classWeights: numbersByName,
      optimizer: either(string, ref("KerasObject")),
      engine: { enum: ENGINES, default: "onnx" },
      callbacks: arrayOf(ref("KerasObject"), { maxItems: 16 }),
      epochs: { ...integer(1, 100_000), default: 1 },
      batchSize: { ...integer(1, 65_536), default: 32 },
      seed: { ...integer(0, 2 ** 32 - 1), default: 0 },
      initialWeights: described("What to start from instead of fresh weights", mapOf(any)),
      checkpointSeconds: described("Most seconds of training that are lost when a trainer dies", number),
      promote: described("Move the alias production to the result when it scores no worse", {
        ...boolean,
        default: true,
      }),
    },
  ),
  EpochRecord: object(
    { epoch: integer(1), loss: number, learningRate: number, seconds: number },
    {
      accuracy: number,
      outputs: mapOf(score),
      validationLoss: number,
      validationAccuracy: number,
      validationOutputs: mapOf(score),
    },
  ),
  TrainingProgress: object(
    {
      epoch: integer(1),
      epochs: integer(1),
      step: integer(0),
      stepsPerEpoch: integer(0),
      loss: number,
      learningRate: number,
      examplesPerSecond: number,
      secondsLeft: number,
    },
    { accuracy: number, outputs: mapOf(score) },
  ),
  Job: object(
    {
      id: string,
      state: enumOf(JOB_STATES),
      stage: enumOf(JOB_STAGES),
      spec: described("The training request, its defaults filled in", ref("TrainingRequest")),
      createdAt: time,
      attempts: integer(0),
      cancelRequested: boolean,
      history: described("Its last 1000 epochs", arrayOf(ref("EpochRecord"))),
    },
    {
      startedAt: time,
      finishedAt: time,
      owner: described("Node that runs it", string),
      leaseExpiresAt: described("Epoch milliseconds", number),
      fruitlessAttempts: integer(0),
      progress: ref("TrainingProgress"),
      backend: string,
      initialWeights: mapOf(any),
      checkpoints: arrayOf(object({ digest: string, size: integer(0), epoch: integer(1), step: integer(0) })),
      trained: mapOf(any),
      result: object(
        {
          model: modelName,
          version: integer(1),
          evaluation: mapOf(any),
          trainSeconds: number,
          promoted: boolean,
        },
        { promotionReason: described("Why it was promoted, or was not", string) },
      ),
      error: object({ type: string, message: string }, { data: any }),
    },
  ),
};
