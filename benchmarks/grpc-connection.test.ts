import { Server, ServerCredentials, type ServiceDefinition, status } from "@grpc/grpc-js";
import type { Answer } from "./connection.ts";
import { GrpcConnection, grpcMessage } from "./grpc-connection.ts";

const PATH = "/test.Echo/Echo";
const identity = (bytes: Buffer): Buffer => bytes;
const ECHO: ServiceDefinition = {
  echo: {
    path: PATH,
    requestStream: false,
    responseStream: false,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  },
};

/** Calls a server that echoes, and fails for an empty message, once for each message, one after another. */
async function callAll(messages: readonly Buffer[]): Promise<(Answer | string)[]> {
  const server = new Server();
  server.addService(ECHO, {
    echo: ({ request }: { request: Buffer }, done: (error: object | null, answer?: Buffer) => void) =>
      request.length === 0 ? done({ code: status.INVALID_ARGUMENT, details: "empty" }) : done(null, request),
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const answers: (Answer | string)[] = [];
  await new Promise<void>((resolve) => {
    const next = (answer: Answer | string): void => {
      answers.push(answer);
      const message = messages[answers.length];
      if (message) connection.send(grpcMessage(message));
      else {
        connection.close();
        resolve();
      }
    };
    const connection = new GrpcConnection(new URL(`grpc://127.0.0.1:${port}${PATH}`), {
      onAnswer: next,
      onBroken: next,
    });
    connection.send(grpcMessage(messages[0]!));
  });
  server.forceShutdown();
  return answers;
}

describe("a load generator's gRPC connection", () => {
  test("gets each call's own message, more than a window's worth on one connection", async () => {
    const messages = Array.from({ length: 40 }, (_, i) => Buffer.alloc(10_000, i + 1));
    const answers = await callAll(messages);
    expect(answers).toEqual(messages.map((body) => ({ status: 200, body })));
  });

  test("says of a call that failed that no message came, and goes on with the next", async () => {
    const answers = await callAll([Buffer.alloc(0), Buffer.from("next")]);
    expect(answers[0]).toMatchObject({ status: 0 });
    expect(answers[1]).toEqual({ status: 200, body: Buffer.from("next") });
  });

  test("refuses a message that does not fit into a frame", () => {
    expect(() => grpcMessage(Buffer.alloc(20_000))).toThrow("20000 bytes does not fit");
  });
});
