/**
 * Choosing nodes on a simulated cluster: Poisson arrivals at several callers, nodes that each answer one request at a
 * time, loads told with every answer and every 250 ms as over the broker. The clock and all chance are the test's, so every run is the same.
 */

import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import { randomStream } from "../../test/fixtures/onnx-models.ts";
import { LoadMeter } from "../serving/load-meter.ts";
import { NodeBalancer } from "./node-balancer.ts";

const PROBE_MS = 250;
const REQUESTS = 8_000;
const CALLERS = 3;
const SEED = 7;

type Cluster = {
  /** Mean time of a request on each node. */
  serviceMs: readonly number[];
  /** Of what all nodes together can do. */
  utilisation: number;
  /** The first node stands still for so long from the first second on. @default not at all */
  hangMs?: number;
};
type Way = "two choices" | "round robin" | "random";
/** `lateShares`: of the last half of all requests. */
type Result = { p99Ms: number; shares: number[]; lateShares: number[] };

class Node {
  readonly id: string;
  readonly local = false;
  readonly meter: LoadMeter;
  readonly #clock: FakeClock;
  readonly #serviceMs: number;
  readonly #draw: () => number;
  readonly #queue: (() => void)[] = [];
  answered = 0;
  /** Before this it does not go on. */
  idleUntil = 0;

  constructor(index: number, clock: FakeClock, serviceMs: number) {
    this.id = `node-${index}`;
    this.#clock = clock;
    this.meter = new LoadMeter(clock);
    this.#serviceMs = serviceMs;
    this.#draw = randomStream(SEED + index);
  }

  run(onAnswer: () => void): void {
    const ended = this.meter.began(this, 1);
    this.#queue.push(() => {
      ended(true);
      this.answered++;
      onAnswer();
    });
    if (this.#queue.length === 1) this.#next();
  }

  #next(): void {
    const hangMs = Math.max(0, this.idleUntil - this.#clock.now());
    this.#clock.after(hangMs + exponential(this.#serviceMs, this.#draw), () => {
      this.#queue.shift()!();
      if (this.#queue.length > 0) this.#next();
    });
  }
}

function exponential(mean: number, draw: () => number): number {
  return -mean * Math.log(1 - draw());
}

function simulate(way: Way, { serviceMs, utilisation, hangMs = 0 }: Cluster): Result {
  const clock = new FakeClock();
  const draw = randomStream(SEED);
  const nodes = serviceMs.map((ms, i) => new Node(i, clock, ms));
  const now = () => clock.now();
  const callers = Array.from({ length: CALLERS }, () => new NodeBalancer({ now, random: draw }));
  let turn = 0;
  const pick = (caller: NodeBalancer): Node => {
    if (way === "round robin") return nodes[turn++ % nodes.length]!;
    if (way === "random") return nodes[Math.floor(draw() * nodes.length)]!;
    return caller.choose(nodes, { subject: "m", rows: 1, affinity: undefined });
  };

  const probe = () => {
    for (const caller of callers) {
      for (const { id, meter } of nodes) caller.heard(id, meter.read(), 1);
      caller.review(() => true);
    }
    clock.after(PROBE_MS, probe);
  };
  probe();

  const capacity = serviceMs.reduce((sum, ms) => sum + 1 / ms, 0);
  const betweenMs = 1 / (capacity * utilisation);
  const waits: number[] = [];
  const early: number[] = [];
  clock.after(1_000, () => {
    nodes[0]!.idleUntil = clock.now() + hangMs;
  });
  let sentCount = 0;
  const arrive = () => {
    const caller = callers[Math.floor(draw() * CALLERS)]!;
    const node = pick(caller);
    const sent = caller.began(node.id, { subject: "m", rows: 1, affinity: undefined });
    node.run(() => {
      waits.push(clock.now() - sent.startedAt);
      if (waits.length === REQUESTS / 2) early.push(...nodes.map(({ answered }) => answered));
      caller.ended(sent);
      caller.told(node.id, node.meter.read());
    });
    if (++sentCount < REQUESTS) clock.after(exponential(betweenMs, draw), arrive);
  };
  arrive();
  while (waits.length < REQUESTS) clock.advance(1_000);

  const sorted = waits.toSorted((a, b) => a - b);
  return {
    p99Ms: sorted[Math.floor(REQUESTS * 0.99)]!,
    shares: nodes.map(({ answered }) => answered / REQUESTS),
    lateShares: nodes.map(({ answered }, i) => (answered - early[i]!) / (REQUESTS / 2)),
  };
}

describe("two choices by what nodes tell", () => {
  test("have a lower p99 than round robin and than chance on equal nodes", () => {
    const cluster = { serviceMs: [10, 10, 10, 10, 10, 10], utilisation: 0.8 };
    const { p99Ms } = simulate("two choices", cluster);
    expect(p99Ms).toBeLessThan(simulate("round robin", cluster).p99Ms);
    expect(p99Ms).toBeLessThan(simulate("random", cluster).p99Ms);
  });

  test("give slow nodes less, and so have a far lower p99 than round robin", () => {
    const cluster = { serviceMs: [10, 10, 10, 40], utilisation: 0.7 };
    const balanced = simulate("two choices", cluster);
    expect(balanced.p99Ms).toBeLessThan(simulate("round robin", cluster).p99Ms / 4);
    // It can do a thirteenth of all.
    expect(balanced.shares[3]).toBeLessThan(0.12);
    expect(balanced.shares[3]).toBeGreaterThan(0);
  });

  test("give a node that hung its share again", () => {
    const { lateShares } = simulate("two choices", {
      serviceMs: [2, 2, 2],
      utilisation: 0.5,
      hangMs: 3_000,
    });
    for (const share of lateShares) expect(share).toBeGreaterThan(0.15);
  });

  test("share the work evenly on equal nodes", () => {
    const { shares } = simulate("two choices", { serviceMs: Array(10).fill(5), utilisation: 0.9 });
    for (const share of shares) expect(Math.abs(share - 0.1)).toBeLessThan(0.03);
  });
});
