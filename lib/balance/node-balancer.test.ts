import { FakeClock } from "../../test/fixtures/fake-clock.ts";
import { randomStream } from "../../test/fixtures/onnx-models.ts";
import { NodeBalancer } from "./node-balancer.ts";
import type { Question } from "./question.ts";

const A = { id: "a", local: false };
const B = { id: "b", local: false };
const C = { id: "c", local: false };
const OWN = { id: "own", local: true };

function balanced() {
  const clock = new FakeClock();
  const balancer = new NodeBalancer({ now: () => clock.now(), random: randomStream(3) });
  const question = (more: Partial<Question> = {}): Question => ({
    subject: "m",
    rows: 1,
    affinity: undefined,
    ...more,
  });
  return {
    clock,
    balancer,
    question,
    /** The nodes of so many choices, none of which is followed by a call. */
    choices: (nodes: readonly { id: string; local: boolean }[], more: Partial<Question> = {}, count = 100) =>
      Array.from({ length: count }, () => balancer.choose(nodes, question(more)).id),
    /** A call that takes so long and ends so. */
    call(nodeID: string, tookMs: number, failure?: string): void {
      const sent = balancer.began(nodeID, question());
      clock.skip(tookMs);
      balancer.ended(sent, failure);
    },
    load: (waitMs: number, rowMs = 1) => ({ rows: waitMs / rowMs, waitMs, rowMs }),
  };
}

const share = (choices: readonly string[], nodeID: string) =>
  choices.filter((choice) => choice === nodeID).length / choices.length;

describe("a call", () => {
  test("goes to any of equal nodes", () => {
    const { choices } = balanced();
    expect(new Set(choices([A, B, C]))).toEqual(new Set(["a", "b", "c"]));
  });

  test("goes to the node that says it has less to do", () => {
    const { balancer, choices, load } = balanced();
    balancer.told("a", load(50));
    balancer.told("b", load(5));
    expect(new Set(choices([A, B]))).toEqual(new Set(["b"]));
  });

  test("counts what was sent to a node since it told of its load, and what came back", () => {
    const { balancer, question, choices, load } = balanced();
    balancer.told("a", load(10));
    balancer.told("b", load(5));
    const sent = Array.from({ length: 10 }, () => balancer.began("b", question()));
    expect(new Set(choices([A, B]))).toEqual(new Set(["a"]));
    for (const call of sent) balancer.ended(call);
    expect(new Set(choices([A, B]))).toEqual(new Set(["b"]));
  });

  test("weighs rows by what they take on each node", () => {
    const { balancer, call, choices, load } = balanced();
    call("a", 10);
    balancer.told("a", load(0, 10));
    balancer.told("b", load(4, 1));
    expect(new Set(choices([A, B]))).toEqual(new Set(["b"]));
    expect(new Set(choices([A, B], { rows: 8 }))).toEqual(new Set(["b"]));
    balancer.told("b", load(40, 1));
    expect(new Set(choices([A, B]))).toEqual(new Set(["a"]));
  });

  test("stays in this process until another node is clearly better, the way there included", () => {
    const { balancer, choices, load } = balanced();
    balancer.ownLoad = () => load(2);
    balancer.told("a", load(1.5));
    expect(new Set(choices([OWN, A]))).toEqual(new Set(["own"]));
    balancer.ownLoad = () => load(20);
    expect(new Set(choices([OWN, A]))).toEqual(new Set(["a"]));
  });

  test("goes once a second to an idle node that looks dear, which may not be so any more", () => {
    const { balancer, clock, call, choices, load } = balanced();
    call("a", 500);
    balancer.told("a", load(0, 500));
    balancer.told("b", load(1));
    expect(share(choices([A, B]), "a")).toBe(0);
    clock.skip(1_000);
    expect(share(choices([A, B]), "a")).toBe(0.01);
    clock.skip(1_000);
    expect(choices([A, B], {}, 1)).toEqual(["a"]);
    call("a", 1);
    balancer.told("a", load(0));
    expect(share(choices([A, B]), "a")).toBe(1);
  });

  test("goes to another node than it has just failed on, and back where there is no other", () => {
    const { balancer, question } = balanced();
    for (let i = 0; i < 20; i++) expect(balancer.choose([A, B], question(), "a").id).toBe("b");
    expect(balancer.choose([A], question(), "a").id).toBe("a");
  });

  test("is never refused: when every node is to be left alone, one of them gets it", () => {
    const { balancer, clock, choices } = balanced();
    for (const nodeID of ["a", "b"]) {
      balancer.heard(nodeID, undefined, 1);
      balancer.asked(nodeID);
    }
    clock.skip(5_000);
    expect(new Set(choices([A, B]))).toEqual(new Set(["a", "b"]));
  });
});

describe("a node", () => {
  test("that leaves a probe unanswered gets nothing until it answers one", () => {
    const { balancer, clock, choices, load } = balanced();
    for (const nodeID of ["a", "b"]) balancer.heard(nodeID, load(0), 1);
    balancer.asked("a");
    clock.skip(500);
    expect(share(choices([A, B]), "a")).toBeGreaterThan(0.2);
    clock.skip(500);
    balancer.asked("a");
    expect(share(choices([A, B]), "a")).toBe(0);
    expect(balancer.view().find(({ nodeID }) => nodeID === "a")?.avoided).toBe("silent");
    balancer.heard("a", undefined, 1);
    expect(share(choices([A, B]), "a")).toBeGreaterThan(0.2);
  });

  test("that never answered a probe takes no part in them, and gets calls", () => {
    const { balancer, clock, choices } = balanced();
    balancer.asked("a");
    clock.skip(5_000);
    expect(share(choices([A, B]), "a")).toBeGreaterThan(0.2);
  });

  test("whose calls time out is tried once a second, and gets calls again when it answers", () => {
    const { balancer, clock, call, choices, question } = balanced();
    call("a", 2_000, "REQUEST_TIMEOUT");
    expect(share(choices([A, B]), "a")).toBeGreaterThan(0.2);
    call("a", 2_000, "REQUEST_TIMEOUT");
    expect(share(choices([A, B]), "a")).toBe(0.01);
    clock.skip(1_000);
    expect(balancer.choose([A, B], question()).id).toBe("a");
    call("a", 3);
    expect(share(choices([A, B]), "a")).toBeGreaterThan(0.2);
  });

  test("is not blamed for deadlines that leave it no time", () => {
    const { call, choices } = balanced();
    for (let i = 0; i < 10; i++) call("a", 5, "REQUEST_TIMEOUT");
    expect(share(choices([A, B]), "a")).toBeGreaterThan(0.2);
  });

  test("whose answers take far longer than others' is left alone, tried, and comes back", () => {
    const { balancer, clock, call, choices, question } = balanced();
    for (let i = 0; i < 40; i++) for (const nodeID of ["b", "c"]) call(nodeID, 10);
    for (let i = 0; i < 40; i++) call("a", 300);
    balancer.review(() => true);
    expect(share(choices([A, B, C]), "a")).toBeLessThanOrEqual(0.01);
    expect(balancer.view().find(({ nodeID }) => nodeID === "a")?.avoided).toBe("slow");
    clock.skip(1_000);
    expect(balancer.choose([A, B, C], question()).id).toBe("a");
    call("a", 10);
    balancer.review(() => true);
    expect(share(choices([A, B, C]), "a")).toBeGreaterThan(0.1);
  });

  test("is not slow for answering from its cache less often than others", () => {
    const { balancer, clock, call, question } = balanced();
    for (let i = 0; i < 40; i++) {
      call("a", 300);
      const cached = balancer.began("b", question());
      clock.skip(1);
      balancer.ended(cached, undefined, false);
      if (i % 10 === 0) call("b", 300);
    }
    balancer.review(() => true);
    expect(balancer.view().map(({ avoided }) => avoided)).toEqual([undefined, undefined]);
  });

  test("that holds its calls while others answer is left alone", () => {
    const { balancer, clock, call, choices, question, load } = balanced();
    balancer.told("a", load(0));
    const held = balancer.began("a", question());
    clock.skip(1_500);
    balancer.review(() => true);
    // Nobody has answered meanwhile: nothing to compare with.
    expect(balancer.view()).toMatchObject([{ nodeID: "a", avoided: undefined }]);
    call("b", 5);
    balancer.review(() => true);
    expect(balancer.view()).toMatchObject([{ nodeID: "a", avoided: "slow" }, { nodeID: "b" }]);
    expect(share(choices([A, B]), "a")).toBe(0);
    balancer.ended(held);
    balancer.review(() => true);
    expect(balancer.view()).toMatchObject([{ nodeID: "a", avoided: "slow" }, { nodeID: "b" }]);
  });

  test("that has not loaded a version gets no calls for it for a moment, but those for others", () => {
    const { clock, call, choices } = balanced();
    call("a", 1, "MODEL_NOT_READY");
    expect(share(choices([A, B]), "a")).toBe(0);
    expect(share(choices([A, B], { subject: "other" }), "a")).toBeGreaterThan(0.2);
    clock.skip(1_000);
    expect(share(choices([A, B]), "a")).toBeGreaterThan(0.2);
  });

  test("that is stopping gets nothing", () => {
    const { call, choices } = balanced();
    call("a", 1, "DRAINING");
    expect(share(choices([A, B]), "a")).toBe(0);
  });

  test("that is gone is forgotten", () => {
    const { balancer, call } = balanced();
    call("a", 1);
    call("b", 1, "QUEUE_FULL");
    balancer.review((nodeID) => nodeID !== "a");
    expect(balancer.view()).toMatchObject([{ nodeID: "b", outcomes: new Map([["QUEUE_FULL", 1]]) }]);
  });
});

describe("an affinity key", () => {
  const KEYS = Array.from({ length: 300 }, (_, i) => `key ${i}`);

  test("keeps its node, however busy or slow that is", () => {
    const { balancer, call, choices, load } = balanced();
    const of = (key: string) => choices([A, B, C], { affinity: key }, 1)[0];
    const before = KEYS.map(of);
    expect(new Set(before).size).toBe(3);
    balancer.told("a", load(1_000));
    for (let i = 0; i < 40; i++) for (const nodeID of ["b", "c"]) call(nodeID, 10);
    for (let i = 0; i < 40; i++) call("a", 300);
    balancer.review(() => true);
    expect(KEYS.map(of)).toEqual(before);
  });

  test("moves only when its node does not answer, and back when it does", () => {
    const { balancer, clock, call, choices } = balanced();
    const of = (key: string) => choices([A, B, C], { affinity: key }, 1)[0];
    const before = KEYS.map(of);
    balancer.heard("b", undefined, 1);
    balancer.asked("b");
    clock.skip(1_000);
    const without = KEYS.map(of);
    for (const [i, node] of before.entries())
      if (node === "b") expect(without[i]).not.toBe("b");
      else expect(without[i]).toBe(node);
    balancer.heard("b", undefined, 1);
    expect(KEYS.map(of)).toEqual(before);
    call("c", 1, "MODEL_NOT_READY");
    expect(KEYS.map(of)).not.toContain("c");
  });

  test("comes back to a node whose calls timed out by being tried there", () => {
    const { clock, call, choices } = balanced();
    const of = (key: string) => choices([A, B], { affinity: key }, 1)[0];
    const key = KEYS.find((candidate) => of(candidate) === "a")!;
    for (let i = 0; i < 2; i++) call("a", 2_000, "REQUEST_TIMEOUT");
    expect([of(key), of(key)]).toEqual(["a", "b"]);
    clock.skip(1_000);
    expect(of(key)).toBe("a");
    call("a", 5);
    expect([of(key), of(key)]).toEqual(["a", "a"]);
  });
});
