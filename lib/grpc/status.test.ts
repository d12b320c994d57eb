/** Statuses of errors: the code, and text that can leave as a trailer. */

import { status } from "@grpc/grpc-js";
import {
  InvalidInputError,
  ModelCorruptError,
  ModelNotFoundError,
  PayloadTooLargeError,
  QueueFullError,
} from "../errors.ts";
import { grpcStatus } from "./status.ts";

test.each([
  [
    new InvalidInputError({ field: "f", received: "r", expected: "e" }),
    status.INVALID_ARGUMENT,
    "INVALID_INPUT",
  ],
  [new ModelNotFoundError("m"), status.NOT_FOUND, "MODEL_NOT_FOUND"],
  [new ModelCorruptError("m", "1", "r"), status.FAILED_PRECONDITION, "MODEL_CORRUPT"],
  [new PayloadTooLargeError(2, 1), status.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE"],
  [new QueueFullError("m", 1), status.UNAVAILABLE, "QUEUE_FULL"],
  // As it comes from another node: its class is lost, its fields are not.
  [
    Object.assign(new Error("away"), { name: "RequestTimeoutError" }),
    status.DEADLINE_EXCEEDED,
    "DEADLINE_EXCEEDED",
  ],
  ["thrown", status.INTERNAL, "INTERNAL"],
])("%s", (error, code, type) => {
  expect(grpcStatus(error)).toMatchObject({ code, type });
});

test("what is not of the catalogue keeps its message", () => {
  expect(grpcStatus(new TypeError("secret")).details).toBe("Internal error; the log has the details");
});

test("text is bounded and can be percent-encoded, wherever it was cut", () => {
  const { details } = grpcStatus(new ModelNotFoundError(`a${"🙂".repeat(5000)}`));
  expect(details.length).toBeLessThan(1100);
  expect(() => encodeURI(details)).not.toThrow();
  expect(() => encodeURI(grpcStatus(new ModelNotFoundError("\ud800")).details)).not.toThrow();
});

test("only what may succeed later says when", () => {
  expect(grpcStatus(new QueueFullError("m", 1, 1.5)).metadata.get("grpc-retry-pushback-ms")).toEqual([
    "1500",
  ]);
  expect(grpcStatus(new ModelNotFoundError("m")).metadata.get("grpc-retry-pushback-ms")).toEqual([]);
});
