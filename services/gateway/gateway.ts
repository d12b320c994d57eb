/**
 * Everything behind the gateway service: the servers, the routes and what they need, and how errors leave.
 * Shutting down: readiness turns 503, event streams end, requests in flight are answered, connections close.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServiceBroker } from "moleculer";
import { RouteNotFoundError } from "../../lib/errors.ts";
import { accessLogInterceptor } from "../../lib/grpc/access-log.ts";
import { answer } from "../../lib/http/answer.ts";
import { errorAnswer } from "../../lib/http/error-answer.ts";
import { requestIdOf } from "../../lib/http/request-id.ts";
import { HttpServer, type RequestListener } from "../../lib/http/server.ts";
import { TlsWatch } from "../../lib/http/tls-files.ts";
import type { Events } from "../../lib/protocol/events.ts";
import { callEachOf, callOf, configOf } from "../../mixins/config.ts";
import { metricSinkOf } from "../../mixins/metrics.ts";
import { metricsTextOf } from "../../mixins/prometheus-reporter.ts";
import { AccessLogFile } from "./access-log-file.ts";
import type { Backend } from "./backend.ts";
import { type Alias, aliasesOf, type ErrorHandler, hotDispatcher, pathOf } from "./dispatch.ts";
import { documentationRoutes } from "./documentation-routes.ts";
import { generateRoutes } from "./generate-routes.ts";
import { GrpcGateway } from "./grpc.ts";
import { inferenceRoutes } from "./inference-routes.ts";
import { JobStreams, type StreamedEvent } from "./job-streams.ts";
import { managementRoutes } from "./management-routes.ts";
import { MetadataCache } from "./metadata-cache.ts";
import { operationsRoutes } from "./operations-routes.ts";
import { repositoryRoutes } from "./repository-routes.ts";
import { tfservingRoutes } from "./tfserving-routes.ts";

const REQUEST_ID = "X-Request-ID";

type Logger = ServiceBroker["logger"];

export type GatewaySettings = {
  /** Answers `POST /predict` when the body names no model. */
  defaultModel: string;
  /** Longest wait for a request body. */
  bodyTimeoutMs: number;
  /** Longest wait for requests in flight when stopping. */
  stopTimeoutMs: number;
  /** How often files of TLS are looked at. */
  tlsReadEveryMs: number;
};

export class Gateway {
  /** The routes, in the order they are tried. */
  readonly aliases: Record<string, Alias>;
  /** Runs a request to a hot route; false leaves it to the router. */
  readonly runHot: (request: IncomingMessage, response: ServerResponse) => boolean;
  readonly #broker: ServiceBroker;
  readonly #logger: Logger;
  readonly #settings: GatewaySettings;
  readonly #server: HttpServer;
  /** Undefined where gRPC is switched off. */
  readonly #grpc: GrpcGateway | undefined;
  /** Undefined without TLS. */
  readonly #tls: TlsWatch | undefined;
  readonly #metadata: MetadataCache;
  readonly #streams: JobStreams;
  readonly #accessLog: AccessLogFile | undefined;
  #stopping = false;

  constructor(broker: ServiceBroker, logger: Logger, settings: GatewaySettings, listener: RequestListener) {
    const config = configOf(broker);
    const call = callOf(broker);
    this.#broker = broker;
    this.#logger = logger;
    this.#settings = settings;
    const tls = config.tls && { clientCertificates: config.tls.clientAuthority !== undefined };
    this.#server = new HttpServer({ ...config.http, tls }, listener, (request, response, error) => {
      this.received(request, response);
      this.fail(request, response, error);
    });
    if (config.accessLog !== undefined)
      this.#accessLog = new AccessLogFile(config.accessLog, metricSinkOf(broker), (error) =>
        this.#logger.error("The access log cannot be written", error),
      );
    const accessLog = this.#accessLog?.log;
    this.#metadata = new MetadataCache((model, version) =>
      call("inference.metadata", version === undefined ? { model } : { model, version }),
    );
    this.#streams = new JobStreams((id) => call("trainer.get", { id }));
    const backend: Backend = {
      call,
      callEach: callEachOf(broker),
      server: config.server,
      servingDefaults: config.inference,
      predictTimeoutMs: config.inference.timeoutMs,
      bodyLimits: { maxBytes: config.http.maxBodyBytes, timeoutMs: settings.bodyTimeoutMs },
      defaultModel: settings.defaultModel,
      metadata: this.#metadata,
      streams: this.#streams,
      accessLog,
      draining: () => this.draining,
      metricsText: () => metricsTextOf(broker),
    };
    const routes = [
      // Before those of a model, of which `/v2/models/stats` could be one.
      ...repositoryRoutes(backend),
      ...inferenceRoutes(backend),
      ...generateRoutes(backend),
      ...tfservingRoutes(backend),
      ...managementRoutes(backend),
    ];
    const { port: grpcPort } = config.grpc;
    if (grpcPort !== undefined)
      this.#grpc = new GrpcGateway(
        backend,
        {
          host: config.http.host,
          port: grpcPort,
          maxMessageBytes: config.http.maxBodyBytes,
          requestTimeoutMs: settings.bodyTimeoutMs,
          tls,
          interceptors: accessLog ? [accessLogInterceptor(accessLog)] : [],
        },
        (method, type, error) => this.#logger.error(`gRPC ${method} failed (${type})`, error),
        (...said) => this.#logger.debug("gRPC:", ...said),
      );
    if (config.tls)
      this.#tls = new TlsWatch(config.tls, {
        onMaterial: (material) => {
          this.#server.useTls(material);
          this.#grpc?.useTls(material);
        },
        onProblem: (error) => this.#logger.error("TLS files have changed and cannot be used", error),
      });
    const onError: ErrorHandler = (...failed) => this.fail(...failed);
    const documentation = documentationRoutes(backend, () => all);
    const operations = operationsRoutes(backend, [...routes, ...documentation]);
    const all = [...routes, ...documentation, ...operations];
    this.aliases = aliasesOf(all, onError);
    this.runHot = hotDispatcher(routes, onError);
  }

  /** Base URL, once started. */
  get url(): string {
    return this.#server.url;
  }

  /** Where gRPC is spoken, host and port, once started; undefined where it is switched off. */
  get grpcAddress(): string | undefined {
    return this.#grpc?.address;
  }

  /** Whether the node is starting or stopping, so that no new requests should come here. */
  get draining(): boolean {
    return this.#stopping || !this.#broker.started;
  }

  /** @throws {PortInUseError} {ConfigError} for files of TLS or an access log that cannot be used */
  async start(): Promise<void> {
    await this.#accessLog?.open();
    await this.#tls?.start(this.#settings.tlsReadEveryMs);
    try {
      await this.#server.start();
      await this.#grpc?.start();
    } catch (error) {
      this.#tls?.stop();
      await this.#server.stop(0);
      throw error;
    }
    this.#logger.info(`Listening on ${this.url}`);
    if (this.grpcAddress !== undefined) this.#logger.info(`Listening on ${this.grpcAddress} (gRPC)`);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#tls?.stop();
    this.#streams.close();
    const { stopTimeoutMs } = this.#settings;
    await Promise.all([this.#server.stop(stopTimeoutMs), this.#grpc?.stop(stopTimeoutMs)]);
    await this.#accessLog?.close();
  }

  onTraining<E extends StreamedEvent>(event: E, payload: Events[E]): void {
    this.#streams.publish(event, payload);
  }

  /** A model has changed: what was known of it is asked for again. */
  onModel({ model }: { model: string }): void {
    this.#metadata.forget(model);
    this.#grpc?.onModel();
  }

  /** Gives a request its id, under which it is answered and logged. */
  received(request: IncomingMessage, response: ServerResponse): string {
    const id = requestIdOf(request.headers["x-request-id"]);
    response.setHeader(REQUEST_ID, id);
    this.#accessLog?.log.watch(request, response, id);
    return id;
  }

  notFound(request: IncomingMessage, response: ServerResponse): void {
    this.fail(request, response, new RouteNotFoundError(request.method ?? "", pathOf(request)));
  }

  /** Answers with an error; what its caller may not see goes to the log. */
  fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const { status, type, body, headers } = errorAnswer(error);
    if (status === 500) {
      const id = response.getHeader(REQUEST_ID);
      this.#logger.error(`${request.method} ${request.url} failed (${type}), request ${id}`, error);
    }
    if (response.headersSent) response.destroy();
    else answer(request, response, status, body, undefined, headers);
  }
}
