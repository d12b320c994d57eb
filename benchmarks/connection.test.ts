import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type Socket } from "node:net";
import { type Answer, Connection, postRequest } from "./connection.ts";

/** Sends two requests to a server that answers each with the given pieces; gives the answers and connections seen. */
async function exchange(
  pieces: readonly string[],
  close = false,
): Promise<{ answers: ({ status: number; body: string } | string)[]; connections: number }> {
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", async () => {
      for (const piece of pieces) {
        socket.write(piece);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      if (close) socket.end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const url = new URL(`http://127.0.0.1:${port}/predict`);
  const request = postRequest(url, {}, Buffer.from("{}"));
  const answers: ({ status: number; body: string } | string)[] = [];
  await new Promise<void>((resolve) => {
    const next = (answer: Answer | string): void => {
      answers.push(typeof answer === "string" ? answer : { ...answer, body: answer.body.toString() });
      if (answers.length < 2) connection.send(request);
      else {
        connection.close();
        resolve();
      }
    };
    const connection = new Connection(url, { onAnswer: next, onBroken: next });
    connection.send(request);
  });
  for (const socket of sockets) socket.destroy();
  server.close();
  return { answers, connections };
}

describe("a load generator's connection", () => {
  test("reads a body by its length, in however many pieces it comes, on one connection", async () => {
    const result = await exchange(["HTTP/1.1 200 OK\r\nContent-", 'Length: 7\r\n\r\n{"a"', ":1}"]);
    expect(result).toEqual({
      answers: [
        { status: 200, body: '{"a":1}' },
        { status: 200, body: '{"a":1}' },
      ],
      connections: 1,
    });
  });

  test("joins the chunks of a chunked body", async () => {
    const { answers } = await exchange([
      'HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n3',
      "\r\n:1}\r\n0\r\n\r\n",
    ]);
    expect(answers[1]).toEqual({ status: 503, body: '{"a":1}' });
  });

  test("opens a new connection for every request when the server closes after each answer", async () => {
    const result = await exchange(["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], true);
    expect(result.answers).toEqual([
      { status: 200, body: "ok" },
      { status: 200, body: "ok" },
    ]);
    expect(result.connections).toBe(2);
  });

  test("reads a body without length up to the end of the connection", async () => {
    const { answers } = await exchange(["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole"], true);
    expect(answers[0]).toEqual({ status: 200, body: "whole" });
  });

  test("calls an answer that stops half-way broken", async () => {
    const { answers } = await exchange(["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"], true);
    expect(answers[0]).toContain("before the answer was complete");
  });
});
