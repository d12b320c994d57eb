/**
 * How Moiety is asked for one image: the Open Inference Protocol as JSON, with binary tensors both ways, over gRPC with
 * raw contents, and as JSON that the prediction cache may answer. Only the last uses the cache.
 */

import { fileURLToPath } from "node:url";
import { loadSync, type ServiceDefinition } from "@grpc/proto-loader";
import { type Endpoint, float32Bytes, JSON_HEADERS, RAW_HEADERS, uint8Bytes } from "./endpoint.ts";
import { type DigitImage, IMAGE_PIXELS } from "./mnist.ts";
import type { EndpointName } from "./paths.ts";

const PROTO = fileURLToPath(new URL("../lib/oip/grpc/inference.proto", import.meta.url));
/** Messages are made by protobufjs from the .proto file, as clients do. */
const INFER = (loadSync(PROTO, { keepCase: true })["inference.GRPCInferenceService"] as ServiceDefinition)
  .ModelInfer!;

/** An input as the model's metadata describes it. */
export type TensorMetadata = { name: string; datatype: string; shape: number[] };

export function moietyEndpoints(
  { http, grpc }: { http: string; grpc: string },
  model: string,
  { name, datatype, shape }: TensorMetadata,
): Partial<Record<EndpointName, Endpoint>> {
  const url = `${http}/v2/models/${model}/infer`;
  const input = { name, shape: [1, ...shape.slice(1)], datatype };
  const asJson =
    (parameters: object): Endpoint["body"] =>
    ({ pixels }) =>
      Buffer.from(JSON.stringify({ inputs: [{ ...input, data: [...pixels] }], parameters }));
  const json = { url, headers: JSON_HEADERS, answers: "json" } as const;

  const header = Buffer.from(
    JSON.stringify({
      inputs: [{ ...input, parameters: { binary_data_size: rawBytes(datatype, EMPTY_IMAGE).length } }],
      parameters: { cache: false, binary_data_output: true },
    }),
  );
  return {
    grpc: {
      url: `grpc://${grpc}${INFER.path}`,
      headers: {},
      answers: "message",
      body: ({ pixels }) =>
        INFER.requestSerialize({
          model_name: model,
          parameters: { cache: { bool_param: false } },
          inputs: [input],
          raw_input_contents: [rawBytes(datatype, pixels)],
        }),
    },
    json: { ...json, body: asJson({ cache: false }) },
    cached: { ...json, body: asJson({}), statisticsUrl: `${http}/v2/models/${model}/stats` },
    binary: {
      url,
      headers: { ...RAW_HEADERS, "Inference-Header-Content-Length": String(header.length) },
      answers: "scores",
      body: ({ pixels }) => Buffer.concat([header, rawBytes(datatype, pixels)]),
    },
  };
}

const EMPTY_IMAGE = new Uint8Array(IMAGE_PIXELS);

/** Pixels as little-endian elements of the datatype. @throws {RangeError} for one that digits are not served in */
function rawBytes(datatype: string, pixels: DigitImage["pixels"]): Uint8Array {
  if (datatype === "UINT8") return uint8Bytes(pixels);
  if (datatype === "FP32") return float32Bytes(pixels);
  throw new RangeError(`an input of ${datatype}; expected UINT8 or FP32`);
}
