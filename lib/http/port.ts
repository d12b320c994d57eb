/** Whether a server could listen here: asked before anything else starts, so that a taken port costs nothing. */

import { createServer, type Server } from "node:net";
import { PortInUseError } from "../errors.ts";

/**
 * Connections that wait to be accepted. Node's 511 overflow when the loop is busy for a moment while a thousand clients
 * come, and what overflows is reset or comes a second late. The system has a bound of its own (Linux: 4096).
 */
const BACKLOG = 4096;

/**
 * Listens and closes again. Port 0 is always free.
 * @param variable the environment variable that sets the port, named in the error
 * @throws {PortInUseError}
 */
export async function assertPortFree(host: string, port: number, variable: string): Promise<void> {
  const probe = createServer();
  await listen(probe, host, port, variable);
  await new Promise((resolve) => probe.close(resolve));
}

/** `server.listen` as a promise. @throws {PortInUseError} */
export function listen(server: Server, host: string, port: number, variable: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void =>
      reject(error.code === "EADDRINUSE" ? new PortInUseError(host, port, variable) : error);
    server.once("error", onError);
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.off("error", onError);
      resolve();
    });
  });
}
