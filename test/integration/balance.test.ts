/**
 * Balance through brokers on a real NATS: nodes whose service is a stand-in, so that how long they take, what they
 * refuse and who asks them is the test's to say.
 */

import { randomUUID } from "node:crypto";
import { ServiceBroker } from "moleculer";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import { ModelNotReadyError } from "../../lib/errors.ts";
import { systemClock } from "../../lib/serving/clock.ts";
import { LoadMeter } from "../../lib/serving/load-meter.ts";
import { balancerOf } from "../../mixins/balance.ts";
import { brokerOptions } from "../../moleculer.config.ts";
import { until } from "../fixtures/eventually.ts";

type Behaviour = { serviceMs: number; lacks?: string };

let nats: RunningServer;
let namespace: string;
const brokers: ServiceBroker[] = [];

beforeAll(async () => {
  nats = await startNats();
});
beforeEach(() => {
  namespace = `t-${randomUUID().slice(0, 8)}`;
});
afterEach(async () => {
  await Promise.all(brokers.splice(0).map((broker) => broker.stop()));
});
afterAll(() => nats.stop());

async function start(nodeID: string, behaviour?: Behaviour) {
  const broker = new ServiceBroker(
    brokerOptions(
      readConfig({
        MOIETY_MODE: "cluster",
        MOIETY_NATS_URL: nats.url,
        MOIETY_NAMESPACE: namespace,
        MOIETY_NODE_ID: nodeID,
        MOIETY_LOG_LEVEL: "fatal",
      }),
    ),
  );
  const asked: string[] = [];
  if (behaviour) offer(broker, behaviour, asked);
  await broker.start();
  brokers.push(broker);
  return { broker, asked };
}

/** Answers one request after another with the name of its node. */
function offer(broker: ServiceBroker, { serviceMs, lacks }: Behaviour, asked: string[]): void {
  const meter = new LoadMeter(systemClock);
  balancerOf(broker).ownLoad = () => meter.read();
  let last = Promise.resolve();
  broker.createService({
    name: "inference",
    actions: {
      predict: {
        balanced: true,
        retryPolicy: { enabled: true, retries: 2, delay: 1 },
        async handler({ params }: { params: { model: string } }) {
          asked.push(params.model);
          if (params.model === lacks) throw new ModelNotReadyError(params.model, "1", "not yet");
          const ended = meter.began(broker, 1);
          last = last.then(() => new Promise((resolve) => setTimeout(resolve, serviceMs)));
          await last;
          ended(true);
          return broker.nodeID;
        },
      },
    },
  });
}

const sees = (broker: ServiceBroker, count: number) =>
  until(() => broker.registry.getActionEndpoints("inference.predict")?.count() === count);

const predict = (broker: ServiceBroker, model = "m") =>
  broker.call<string, object>("inference.predict", { model, inputs: [{ shape: [1, 2] }] });

/** So many calls, from so many clients that each wait for their answer. */
async function underLoad(broker: ServiceBroker, calls: number, clients = 8): Promise<string[]> {
  const answers: string[] = [];
  let left = calls;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (left-- > 0) answers.push(await predict(broker));
    }),
  );
  return answers;
}

const count = (answers: readonly string[], nodeID: string) =>
  answers.filter((answer) => answer === nodeID).length;

describe("calls to inference", () => {
  test("go to a slow node less than to a quick one, and none fails", async () => {
    const { broker } = await start("caller");
    await Promise.all([start("quick", { serviceMs: 2 }), start("slow", { serviceMs: 60 })]);
    await sees(broker, 2);
    const answers = await underLoad(broker, 400);
    expect(answers).toHaveLength(400);
    expect(count(answers, "slow")).toBeLessThan(count(answers, "quick") / 2);
  });

  test("stay in the process they begin in, and leave it when others are freer", async () => {
    const { broker } = await start("own", { serviceMs: 20 });
    await start("other", { serviceMs: 20 });
    await sees(broker, 2);
    expect(await predict(broker)).toBe("own");
    const answers = await underLoad(broker, 200);
    expect(count(answers, "own")).toBeGreaterThan(0);
    expect(count(answers, "other")).toBeGreaterThan(0);
  });

  test("do not go again and again to a node that has not loaded the version", async () => {
    const { broker } = await start("caller");
    const { asked } = await start("without", { serviceMs: 1, lacks: "new" });
    await start("with", { serviceMs: 1 });
    await sees(broker, 2);
    const startedAt = performance.now();
    for (let i = 0; i < 100; i++) expect(await predict(broker, "new")).toBe("with");
    const seconds = (performance.now() - startedAt) / 1_000;
    // Round robin would ask it fifty times; it is asked once a second at the most.
    expect(asked.length).toBeLessThanOrEqual(1 + seconds);
    expect(asked.length).toBeGreaterThan(0);
  });

  test("leave nothing of the balance in what the caller sees", async () => {
    const { broker } = await start("caller");
    await Promise.all([start("a", { serviceMs: 1 }), start("b", { serviceMs: 1 })]);
    await sees(broker, 2);
    const meta = { mine: 1 };
    await broker.call("inference.predict", { model: "m", inputs: [] }, { meta });
    expect(meta).toEqual({ mine: 1 });
    expect(balancerOf(broker).view()).toContainEqual(
      expect.objectContaining({ outcomes: new Map([["ok", 1]]) }),
    );
  });
});
