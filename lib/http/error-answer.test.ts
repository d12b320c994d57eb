import { Errors } from "moleculer";
import { InvalidInputError, MethodNotAllowedError, ModelNotFoundError, UnavailableError } from "../errors.ts";
import { errorAnswer } from "./error-answer.ts";

const answerOf = (error: unknown) => {
  const { status, headers, body } = errorAnswer(error);
  return { status, headers, ...(JSON.parse(body) as { error: string; type: string; data?: unknown }) };
};

describe("errorAnswer", () => {
  test("lets errors of the catalogue speak for themselves", () => {
    expect(answerOf(new ModelNotFoundError("m"))).toEqual({
      status: 404,
      headers: {},
      error: "Request for unknown model: 'm' is not found",
      type: "MODEL_NOT_FOUND",
      data: { model: "m" },
    });
    expect(answerOf(new UnavailableError("x", "gone")).headers).toEqual({ "Retry-After": "1" });
    expect(answerOf(new MethodNotAllowedError("PUT", "/", ["GET"])).headers).toEqual({ Allow: "GET" });
  });

  test("is short whatever the error repeats of what a client sent", () => {
    const field = `configuration.${"x".repeat(2 ** 20)}`;
    const answer = answerOf(new InvalidInputError({ field, received: "1", expected: "nothing" }));
    expect(answer).toEqual({
      status: 400,
      headers: {},
      error: expect.stringMatching(/^Invalid configuration\.x+…$/),
      type: "INVALID_INPUT",
    });
    expect(answer.error.length).toBeLessThan(1100);
  });

  test("reads errors rebuilt from another node as the originals", () => {
    const rebuilt = Object.assign(new Error("full"), {
      name: "QueueFullError",
      code: 503,
      type: "QUEUE_FULL",
      data: {},
    });
    expect(answerOf(rebuilt)).toEqual({ status: 503, headers: {}, error: "full", type: "QUEUE_FULL" });
  });

  test.each([
    [new Errors.ServiceNotFoundError({ action: "a.b" }), 503, "UNAVAILABLE"],
    [new Errors.ServiceNotAvailableError({ action: "a.b" }), 503, "UNAVAILABLE"],
    [new Errors.RequestRejectedError({ action: "a.b", nodeID: "n" }), 503, "UNAVAILABLE"],
    [Object.assign(new Error("x"), { name: "BrokerDisconnectedError" }), 503, "UNAVAILABLE"],
    [new Errors.RequestTimeoutError({ action: "a.b", nodeID: "n" }), 504, "DEADLINE_EXCEEDED"],
    [new Errors.RequestSkippedError({ action: "a.b", nodeID: "n" }), 504, "DEADLINE_EXCEEDED"],
    [new Errors.ValidationError("bad", "X", [{ field: "f", message: "is required" }]), 400, "INVALID_INPUT"],
  ])("translates Moleculer's own errors (%#)", (error, status, type) => {
    expect(answerOf(error)).toMatchObject({ status, type });
  });

  test.each([
    ["an Error", new Error("secret")],
    ["a system error", Object.assign(new Error("secret"), { code: "ENOENT", type: "system" })],
    ["a number as code but no type", Object.assign(new Error("secret"), { code: 500 })],
    ["a string", "secret"],
    ["nothing", undefined],
  ])("keeps %s to itself", (_, error) => {
    const answer = errorAnswer(error);
    expect(answer).toMatchObject({ status: 500, type: "INTERNAL" });
    expect(answer.body).not.toContain("secret");
  });
});
