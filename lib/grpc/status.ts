/**
 * Any thrown value as a gRPC status: the canonical code that fits, the message a caller may see (lib/http's rules: what
 * is not of the catalogue stays in the log), and in the trailers what gRPC has for details: `google.rpc.ErrorInfo` with
 * the error's type, and where it pays to try again `google.rpc.RetryInfo` and `grpc-retry-pushback-ms`, which clients
 * with a retry policy follow by themselves (gRFC A6).
 */

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Metadata, status } from "@grpc/grpc-js";
import { errorFacts } from "../http/error-answer.ts";
import { PRODUCT } from "../product.ts";

export type GrpcStatus = {
  code: status;
  details: string;
  /** Trailers. */
  metadata: Metadata;
  /** The error's type in the catalogue. */
  type: string;
};

/** By the HTTP status of an error; 500 and all others are INTERNAL. */
const CODES: Readonly<Record<number, status>> = {
  400: status.INVALID_ARGUMENT,
  404: status.NOT_FOUND,
  405: status.UNIMPLEMENTED,
  409: status.ABORTED,
  413: status.RESOURCE_EXHAUSTED,
  415: status.UNIMPLEMENTED,
  422: status.FAILED_PRECONDITION,
  499: status.CANCELLED,
  503: status.UNAVAILABLE,
  504: status.DEADLINE_EXCEEDED,
};

/** Trailers have to fit a few kilobytes, percent signs included. */
const MAX_DETAILS_CHARACTERS = 1024;
const MS_PER_SECOND = 1000;

export function grpcStatus(error: unknown): GrpcStatus {
  const { status: http, type, message, data } = errorFacts(error);
  const code = CODES[http] ?? status.INTERNAL;
  const details = bounded(message);
  const metadata = new Metadata();
  const { retryAfterSeconds } = (data ?? {}) as { retryAfterSeconds?: unknown };
  const retryAfter = typeof retryAfterSeconds === "number" ? retryAfterSeconds : undefined;
  metadata.set("grpc-status-details-bin", printStatus(code, details, type, retryAfter));
  if (retryAfter !== undefined)
    metadata.set("grpc-retry-pushback-ms", String(Math.ceil(retryAfter * MS_PER_SECOND)));
  return { code, details, metadata, type };
}

/** Well-formed also where it was cut: what is not cannot be sent. */
function bounded(message: string): string {
  const text =
    message.length > MAX_DETAILS_CHARACTERS ? `${message.slice(0, MAX_DETAILS_CHARACTERS)}…` : message;
  return text.toWellFormed();
}

/** `google.rpc.Status`. */
function printStatus(code: status, message: string, type: string, retryAfter: number | undefined): Buffer {
  const writer = new BinaryWriter().tag(1, WireType.Varint).int32(code);
  writer.tag(2, WireType.LengthDelimited).string(message);
  writeDetail(writer, "google.rpc.ErrorInfo", (info) => {
    info.tag(1, WireType.LengthDelimited).string(type);
    info.tag(2, WireType.LengthDelimited).string(PRODUCT.name);
  });
  if (retryAfter !== undefined)
    writeDetail(writer, "google.rpc.RetryInfo", (info) => {
      const delay = info.tag(1, WireType.LengthDelimited).fork();
      delay.tag(1, WireType.Varint).int64(Math.ceil(retryAfter)).join();
    });
  return Buffer.from(writer.finish());
}

/** A detail is a `google.protobuf.Any`. */
function writeDetail(writer: BinaryWriter, name: string, write: (writer: BinaryWriter) => void): void {
  writer.tag(3, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(`type.googleapis.com/${name}`);
  write(writer.tag(2, WireType.LengthDelimited).fork());
  writer.join().join();
}
