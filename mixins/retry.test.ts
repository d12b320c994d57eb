import { Errors, ServiceBroker } from "moleculer";
import { readConfig } from "../lib/config.ts";
import { brokerOptions } from "../moleculer.config.ts";
import { ElsewhereStrategy, isWorthRetrying } from "./retry.ts";

describe("isWorthRetrying", () => {
  test("trusts the error, except where another attempt would only add load", () => {
    expect(isWorthRetrying({ retryable: true, type: "MODEL_NOT_READY" })).toBe(true);
    expect(isWorthRetrying({ retryable: true, type: "QUEUE_FULL" })).toBe(false);
    expect(isWorthRetrying({ retryable: false, type: "MODEL_NOT_READY" })).toBe(false);
    expect(isWorthRetrying(undefined)).toBe(false);
  });
});

describe("a service that is not found", () => {
  test("is asked for elsewhere when it was one node that had it no more", () => {
    const error = (data: object) => new Errors.ServiceNotFoundError({ action: "s.a", ...data });
    expect(isWorthRetrying(error({ nodeID: "stopping" }))).toBe(true);
    expect(isWorthRetrying(error({}))).toBe(false);
  });
});

describe("ElsewhereStrategy", () => {
  type Parameters = ConstructorParameters<typeof ElsewhereStrategy>;
  type Arguments = globalThis.Parameters<ElsewhereStrategy["select"]>;
  const strategy = () => new ElsewhereStrategy({} as Parameters[0], {} as Parameters[1]);
  const nodes = (...ids: string[]) => ids.map((id) => ({ id, local: id === "own" })) as Arguments[0];
  const attempt = (attempts: number, nodeID: string) =>
    ({ _retryAttempts: attempts, nodeID }) as unknown as NonNullable<Arguments[1]>;

  test("takes nodes in turn for first attempts", () => {
    const own = strategy();
    const picks = [1, 2, 3].map(() => own.select(nodes("a", "b"), attempt(0, "a")).id);
    expect(picks).toEqual(["a", "b", "a"]);
  });

  test("takes this process first, but not for a further attempt after it has failed", () => {
    const own = strategy();
    const picks = [1, 2, 3].map(() => own.select(nodes("a", "own"), attempt(0, "a")).id);
    expect(picks).toEqual(["own", "own", "own"]);
    expect(own.select(nodes("a", "own"), attempt(1, "own")).id).toBe("a");
  });

  test("gives a further attempt to any node but the one that failed", () => {
    const own = strategy();
    const picks = [1, 2, 3, 4].map(() => own.select(nodes("a", "b", "c"), attempt(1, "b")).id);
    expect(new Set(picks)).toEqual(new Set(["a", "c"]));
  });

  test("asks the node that failed again when it is the only one", () => {
    expect(strategy().select(nodes("a"), attempt(1, "a")).id).toBe("a");
  });
});

describe("retries", () => {
  test("raise no warning when the call comes right", async () => {
    const broker = new ServiceBroker(brokerOptions(readConfig({ MOIETY_LOG_LEVEL: "fatal" })));
    const told: string[] = [];
    broker.logger.warn = (text: string) => void told.push(text);
    let calls = 0;
    broker.createService({
      name: "s",
      actions: {
        flaky: {
          retryPolicy: { enabled: true },
          handler() {
            if (++calls === 1) throw new Errors.MoleculerRetryableError("not yet");
            return calls;
          },
        },
      },
    });
    await broker.start();
    try {
      expect(await broker.call("s.flaky")).toBe(2);
    } finally {
      await broker.stop();
    }
    expect(told).toEqual([]);
  });
});
