/**
 * Whether a node that is told to stop under load leaves anybody without an answer. The node is a process of its own;
 * clients, half of them over gRPC, keep their connections and ask without a pause, as ones behind a load balancer do: until readiness says 503,
 * or an answer says that its connection closes and a new one is refused. Everything they have asked must be answered
 * by then, and no connection may be reset under a request.
 */

import { Agent } from "node:http";
import { eventually, settled, until } from "../fixtures/eventually.ts";
import { GrpcCaller } from "./grpc-caller.ts";
import { type Asked, ask, grpcQuestion, question, startServedProcess } from "./served-process.ts";

export type ShutdownOptions = {
  clients: number;
  /** Whether clients go on, over new connections, when readiness has said 503. */
  stubborn: boolean;
};

export type ShutdownReport = {
  /** Answers to what was asked before the signal, and after it. */
  before: number;
  after: number;
  /** Stubborn clients' new connections that came in the instant in which listening ended. */
  unaccepted: number;
  /** Statuses of readiness in the order they changed, over HTTP and over gRPC. */
  readiness: Asked["status"][];
  grpcReadiness: Asked["status"][];
  exit: number | string;
  stderr: string;
};

/** @throws {Error} at the first request that was not answered, with what its client saw */
export async function shutdown({ clients, stubborn }: ShutdownOptions): Promise<ShutdownReport> {
  const { url, address, program, close } = await startServedProcess({});
  const agent = new Agent({ keepAlive: true });
  const callers = Array.from({ length: clients }, () => new GrpcCaller(address));
  try {
    await eventually(async () => (await ask(agent, `${url}/v2/health/ready`)).status === 200 || undefined);

    const answered = { before: 0, after: 0, unaccepted: 0 };
    const readiness: Asked["status"][] = [200];
    const grpcReadiness: Asked["status"][] = [200];
    let [told, leaving] = [false, false];
    let failure: Error | undefined;
    const [body, message] = [question(), grpcQuestion()];
    const client = async (caller: GrpcCaller, id: number): Promise<void> => {
      const asking =
        id % 2 === 0 ? () => ask(agent, `${url}/v2/models/m/infer`, body) : () => caller.ask(message);
      while (!leaving && failure === undefined) {
        const when = told ? "after" : "before";
        const { status, text } = await asking();
        if (status === "refused" && told) return;
        if (status === "unaccepted" && told && stubborn) {
          answered.unaccepted++;
          return;
        }
        if (status !== 200) throw new Error(`A request asked ${when} the signal ended in ${status}: ${text}`);
        answered[when]++;
      }
    };
    const prober = async (): Promise<void> => {
      while (typeof readiness.at(-1) === "number" && failure === undefined) {
        const asked = await ask(agent, `${url}/v2/health/ready`);
        // It asks without a pause: that the listener ends as it connects is one way to be refused.
        const status = asked.status === "unaccepted" && told ? "refused" : asked.status;
        if (status !== readiness.at(-1)) readiness.push(status);
        if (status !== 200) leaving ||= !stubborn;
      }
    };
    const grpcProber = async (): Promise<void> => {
      const caller = new GrpcCaller(address);
      try {
        while (typeof grpcReadiness.at(-1) === "number" && failure === undefined) {
          const status = await caller.ready();
          if (status !== grpcReadiness.at(-1)) grpcReadiness.push(status);
        }
      } finally {
        caller.close();
      }
    };
    const all = [prober(), grpcProber(), ...callers.map(client)].map((ends) =>
      ends.catch((error: Error) => {
        failure ??= error;
      }),
    );
    await until(() => answered.before >= clients || failure !== undefined);
    told = true;
    program.child.kill("SIGTERM");
    await settled(Promise.all(all));
    if (failure) throw failure;
    return { ...answered, readiness, grpcReadiness, exit: await program.ended(), stderr: program.stderr() };
  } finally {
    for (const caller of callers) caller.close();
    agent.destroy();
    await close();
  }
}
