import { Rendezvous } from "./rendezvous.ts";

const nodes = (...ids: string[]) => ids.map((id) => ({ id }));
const KEYS = Array.from({ length: 10_000 }, (_, i) => `session-${i}`);

describe("Rendezvous", () => {
  test("finds the same node for a key on every caller, in whatever order they know the nodes", () => {
    const [one, other] = [new Rendezvous(), new Rendezvous()];
    for (const key of KEYS.slice(0, 500))
      expect(other.choose(key, nodes("c", "a", "b")).id).toBe(one.choose(key, nodes("a", "b", "c")).id);
  });

  test("shares keys out evenly", () => {
    const shares = new Map<string, number>();
    const rendezvous = new Rendezvous();
    for (const key of KEYS) {
      const { id } = rendezvous.choose(key, nodes("a", "b", "c", "d", "e"));
      shares.set(id, (shares.get(id) ?? 0) + 1);
    }
    // 2000 each, with a standard deviation of 40.
    for (const share of shares.values()) expect(Math.abs(share - 2000)).toBeLessThan(200);
  });

  test("moves only the keys of a node that goes, to all of the others, and back when it returns", () => {
    const rendezvous = new Rendezvous();
    const before = KEYS.map((key) => rendezvous.choose(key, nodes("a", "b", "c", "d")).id);
    const without = KEYS.map((key) => rendezvous.choose(key, nodes("a", "b", "d")).id);
    const heirs = new Set<string>();
    for (const [i, id] of before.entries())
      if (id === "c") heirs.add(without[i]!);
      else expect(without[i]).toBe(id);
    expect(heirs).toEqual(new Set(["a", "b", "d"]));
    expect(KEYS.map((key) => rendezvous.choose(key, nodes("d", "c", "b", "a")).id)).toEqual(before);
  });
});
