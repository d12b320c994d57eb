/** The access log's lines of gRPC calls: one for each, streams too, when its status has been sent or it was given up. */

import {
  type Metadata,
  ResponderBuilder,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
  status,
} from "@grpc/grpc-js";
import { type AccessLog, rounded } from "../http/access-log.ts";
import { requestIdOf } from "../http/request-id.ts";

/** Handlers find a call by its metadata. */
export function accessLogInterceptor(log: AccessLog): ServerInterceptor {
  return (method, call) => {
    const startedAt = performance.now();
    const time = new Date().toISOString();
    let metadata: Metadata | undefined;
    let bytesIn = 0;
    let bytesOut = 0;
    let over = false;
    const end = (code: status): void => {
      if (over) return;
      over = true;
      log.write({
        time,
        id: requestIdOf(metadata?.get("x-request-id")[0]),
        protocol: "grpc",
        path: method.path,
        status: status[code] ?? String(code),
        bytesIn,
        bytesOut,
        durationMs: rounded(performance.now() - startedAt),
        remote: call.getConnectionInfo().remoteAddress ?? "",
        ...(metadata && log.predictionOf(metadata)),
      });
    };
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((received, next) => {
        metadata = received;
        next(received);
      })
      .withOnReceiveMessage((message: Buffer, next) => {
        bytesIn += message.length;
        next(message);
      })
      .withOnCancel(() => end(status.CANCELLED))
      .build();
    const responder = new ResponderBuilder()
      .withStart((next) => next(listener))
      .withSendMessage((message: Buffer, next) => {
        bytesOut += message.length;
        next(message);
      })
      .withSendStatus((sent, next) => {
        end(sent.code ?? status.UNKNOWN);
        next(sent);
      })
      .build();
    return new ServerInterceptingCall(call, responder);
  };
}
