/**
 * The HTTP gateway, on moleculer-web: Open Inference Protocol v2, `POST /predict`, the management API, metrics.
 * Routes live in services/gateway/; nothing but what they list can be reached. The server is our own: a port in
 * use fails the start instead of exiting the process, and stopping takes a bounded time.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Context, Service, ServiceSchema } from "moleculer";
import ApiGateway, { type ApiRouteSchema, type IncomingRequest } from "moleculer-web";
import type { Events } from "../lib/protocol/events.ts";
import { Gateway, type GatewaySettings } from "./gateway/gateway.ts";
import type { StreamedEvent } from "./gateway/job-streams.ts";

type GatewayService = Service<GatewaySettings> & {
  gateway: Gateway;
  addRoute(route: ApiRouteSchema): void;
  httpHandler(request: IncomingMessage, response: ServerResponse): Promise<void>;
};

type Settings = GatewaySettings & Record<string, unknown>;
type Schema = ServiceSchema<Settings, Record<string, unknown>, Record<string, unknown>, GatewayService>;

function forward(event: StreamedEvent) {
  return function (this: GatewayService, { params }: Context<Events[StreamedEvent]>): void {
    this.gateway.onTraining(event, params);
  };
}

function forget(this: GatewayService, { params }: Context<{ model: string }>): void {
  this.gateway.onModel(params);
}

export default {
  name: "gateway",
  mixins: [ApiGateway],

  settings: {
    // Middleware mode: no server and no routes of moleculer-web's own making.
    server: false,
    routes: null,
    // Routes are tried as they are listed, the hot ones first.
    optimizeOrder: false,
    logRouteRegistration: null,
    etag: false,

    defaultModel: "mnist",
    bodyTimeoutMs: 30_000,
    stopTimeoutMs: 10_000,
    tlsReadEveryMs: 10_000,
  },

  actions: { listAliases: false, addRoute: false, removeRoute: false },

  events: {
    "training.progressed": forward("training.progressed"),
    "training.epochCompleted": forward("training.epochCompleted"),
    "training.stageChanged": forward("training.stageChanged"),
    "training.ended": forward("training.ended"),
    "model.published": forget,
    "model.aliasMoved": forget,
    "model.loaded": forget,
  },

  methods: {
    /** Replaces moleculer-web's own: hot routes run at once, errors and unknown paths leave in our form. */
    async httpHandler(
      this: GatewayService,
      request: IncomingRequest,
      response: ServerResponse,
    ): Promise<void> {
      const requestID = this.gateway.received(request, response);
      if (this.gateway.runHot(request, response)) return;
      // The server waits for its requests by itself, so the call need not be tracked.
      const options = { requestID, tracking: false };
      try {
        const found = await this.actions.rest!({ req: request, res: response }, options);
        if (found === null) this.gateway.notFound(request, response);
      } catch (error) {
        this.gateway.fail(request, response, error);
      }
    },
  },

  created(this: GatewayService) {
    this.gateway = new Gateway(this.broker, this.logger, this.settings, (request, response) => {
      void this.httpHandler(request, response);
    });
    this.addRoute({
      path: "/",
      aliases: this.gateway.aliases,
      mappingPolicy: "restrict",
      // Bodies are read by the routes, whatever their Content-Type.
      bodyParsers: false,
      mergeParams: false,
      logging: false,
    });
  },

  started(this: GatewayService) {
    return this.gateway.start();
  },

  stopped(this: GatewayService) {
    return this.gateway.stop();
  },
} satisfies Schema;
