/**
 * `inference.GRPCInferenceService` of the Open Inference Protocol v2: its methods on what the HTTP routes stand on.
 * Messages reach the methods as bytes and are read here, so that bytes that are no message are the client's fault
 * (INVALID_ARGUMENT) and not the server's. Methods of Triton's that are not listed (shared memory, traces, logging)
 * are answered UNIMPLEMENTED by the library, by name.
 *
 * Copies of a request's data: one by grpc-js, which joins the frames, one more where they lie unaligned; of an answer's
 * data: one into the message, one by grpc-js into its frame.
 */

import {
  type handleUnaryCall,
  type Metadata,
  type ServerDuplexStream,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { errorType } from "../../lib/errors.ts";
import { bytesMethod } from "../../lib/grpc/bytes-method.ts";
import { type GrpcStatus, grpcStatus } from "../../lib/grpc/status.ts";
import { type InferMessage, readInferMessage } from "../../lib/oip/grpc/infer-message.ts";
import { inferRequest } from "../../lib/oip/grpc/infer-request.ts";
import {
  printInferResponse,
  printStreamError,
  printStreamResponse,
} from "../../lib/oip/grpc/infer-response.ts";
import {
  printFlag,
  printModelMetadata,
  printServerMetadata,
  readModelReference,
  readStatisticsReference,
} from "../../lib/oip/grpc/metadata.ts";
import { printModelConfig } from "../../lib/oip/grpc/model-config.ts";
import {
  EMPTY_MESSAGE,
  printIndex,
  readChangeMessage,
  readIndexMessage,
} from "../../lib/oip/grpc/repository.ts";
import { printStatistics } from "../../lib/oip/grpc/statistics.ts";
import { modelMetadata, serverMetadata } from "../../lib/oip/metadata.ts";
import { wantsClasses } from "../../lib/oip/requested-outputs.ts";
import { readAffinity } from "../../lib/protocol/affinity.ts";
import type { PredictResponse } from "../../lib/protocol/inference.ts";
import type { Backend } from "./backend.ts";
import { type CallTerms, predict, withClasses } from "./infer.ts";
import { InferStream } from "./infer-stream.ts";
import { AFFINITY_HEADER } from "./prediction-headers.ts";
import { modelReadiness, serverReadiness } from "./readiness.ts";
import { configurationOf, indexOf, loadModel, statisticsOf, unloadModel } from "./repository.ts";

/** Answers one message with another. */
type Method = (message: Buffer, terms: Terms) => Buffer | Promise<Buffer>;
/** `affinity`: as the client's metadata gave it. */
type Terms = CallTerms & { affinity: string | undefined };
/** Hears of what went wrong here and not at the client. */
export type FaultListener = (method: string, type: string, error: unknown) => void;

export const OIP_SERVICE = "inference.GRPCInferenceService";

export class GrpcService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  readonly #backend: Backend;
  readonly #onFault: FaultListener;
  readonly #streams = new Set<InferStream>();

  constructor(backend: Backend, onFault: FaultListener) {
    this.#backend = backend;
    this.#onFault = onFault;
    const methods: Record<string, Method> = {
      ServerLive: () => printFlag(true),
      ServerReady: async () => printFlag((await serverReadiness(backend)).ready),
      ModelReady: (message) => this.#modelReady(message),
      ServerMetadata: () => printServerMetadata(serverMetadata(backend.server)),
      ModelMetadata: (message) => this.#modelMetadata(message),
      ModelInfer: (message, terms) => this.#infer(message, terms),
      ModelConfig: async (message) =>
        printModelConfig(await configurationOf(backend, readModelReference(message, "ModelConfigRequest"))),
      ModelStatistics: async (message) =>
        printStatistics(await statisticsOf(backend, readStatisticsReference(message))),
      RepositoryIndex: async (message) => printIndex(await indexOf(backend, readIndexMessage(message).ready)),
      RepositoryModelLoad: async (message, { signal }) => {
        await loadModel(backend, readChangeMessage(message, "load").model, signal);
        return EMPTY_MESSAGE;
      },
      RepositoryModelUnload: async (message, { signal }) => {
        await unloadModel(backend, readChangeMessage(message, "unload").model, signal);
        return EMPTY_MESSAGE;
      },
    };
    const unary = Object.entries(methods);
    this.definition = {
      ...Object.fromEntries(unary.map(([name]) => [name, bytesMethod(OIP_SERVICE, name)])),
      ModelStreamInfer: bytesMethod(OIP_SERVICE, "ModelStreamInfer", { requests: true, responses: true }),
    };
    this.implementation = {
      ...Object.fromEntries(unary.map(([name, method]) => [name, this.#unary(name, method)])),
      ModelStreamInfer: (call: ServerDuplexStream<Buffer, Buffer>) => this.#stream(call),
    };
  }

  /** Ends the streams once what they have read is answered; other calls end by themselves. */
  close(): void {
    for (const stream of this.#streams) stream.close();
  }

  #unary(name: string, method: Method): handleUnaryCall<Buffer, Buffer> {
    return async (call, callback) => {
      const cancelled = new AbortController();
      call.once("cancelled", () => cancelled.abort());
      try {
        const terms = termsOf(call.getDeadline(), cancelled.signal, affinityOf(call));
        callback(null, await method(call.request, { ...terms, of: call.metadata }));
      } catch (error) {
        callback(this.#statusOf(name, error));
      }
    };
  }

  #stream(call: ServerDuplexStream<Buffer, Buffer>): void {
    const cancelled = new AbortController();
    call.once("cancelled", () => cancelled.abort());
    const deadline = call.getDeadline();
    const affinity = affinityOf(call);
    const stream = new InferStream(
      call,
      (message) => this.#streamedAnswer(message, termsOf(deadline, cancelled.signal, affinity)),
      () => this.#streams.delete(stream),
    );
    this.#streams.add(stream);
  }

  async #modelReady(message: Buffer): Promise<Buffer> {
    const reference = readModelReference(message, "ModelReadyRequest");
    try {
      return printFlag((await modelReadiness(this.#backend, reference)).ready);
    } catch (error) {
      // As Triton answers it: its clients take an error for a server that cannot tell.
      if (/^MODEL_(VERSION_)?NOT_FOUND$/.test(errorType(error))) return printFlag(false);
      throw error;
    }
  }

  async #modelMetadata(message: Buffer): Promise<Buffer> {
    const reference = readModelReference(message, "ModelMetadataRequest");
    return printModelMetadata(modelMetadata(await this.#backend.call("inference.metadata", reference)));
  }

  async #infer(message: Buffer, terms: Terms): Promise<Buffer> {
    const { response, id } = await this.#predict(readInferMessage(message), terms);
    return printInferResponse(response, id);
  }

  /** Never rejects: a request that fails leaves its stream to the others. */
  async #streamedAnswer(bytes: Buffer, terms: Terms): Promise<Buffer> {
    let given: InferMessage | undefined;
    try {
      given = readInferMessage(bytes);
      const { response, id } = await this.#predict(given, terms);
      return printStreamResponse(response, id);
    } catch (error) {
      return printStreamError(this.#statusOf("ModelStreamInfer", error).details, given?.id || undefined);
    }
  }

  async #predict(
    message: InferMessage,
    { affinity, ...terms }: Terms,
  ): Promise<{ response: PredictResponse; id: string | undefined }> {
    const parsed = inferRequest(message);
    if (affinity !== undefined)
      parsed.request.affinity = readAffinity(affinity, `metadata ${AFFINITY_HEADER}`);
    const response = await predict(this.#backend, parsed.request, terms);
    const printed = wantsClasses(parsed.form) ? await withClasses(this.#backend, response, parsed) : response;
    return { response: printed, id: parsed.id };
  }

  #statusOf(method: string, error: unknown): GrpcStatus {
    const failure = grpcStatus(error);
    if (failure.code === status.INTERNAL) this.#onFault(`${OIP_SERVICE}/${method}`, failure.type, error);
    return failure;
  }
}

/** @param deadline when the client stops waiting, as grpc-js tells it: Infinity, or a point in time */
function termsOf(deadline: Date | number, signal: AbortSignal, affinity: string | undefined): Terms {
  // A deadline that has passed cancels the call; the least wait is what the others hear of it.
  return deadline === Number.POSITIVE_INFINITY
    ? { signal, affinity }
    : { signal, affinity, timeoutMs: Math.max(1, Number(deadline) - Date.now()) };
}

/** Given more than once it is one key, as HTTP has it. */
function affinityOf({ metadata }: { metadata: Metadata }): string | undefined {
  const given = metadata.get(AFFINITY_HEADER);
  return given.length === 0 ? undefined : given.join(", ");
}
