/** The generator against its published reference values, its statistics, and the independence of named streams. */

import { RandomStream } from "./stream.ts";

describe("random streams", () => {
  test("give the reference sequence of xoshiro128** for the state 1, 2, 3, 4", () => {
    const stream = new RandomStream([1, 2, 3, 4]);
    // First outputs of the reference C code (prng.di.unimi.it/xoshiro128starstar.c).
    expect(Array.from({ length: 5 }, () => stream.uint32())).toEqual([
      11520, 0, 5927040, 70819200, 2031721883,
    ]);
  });

  test("a saved state continues where it was taken", () => {
    const stream = RandomStream.named(5, "shuffle");
    for (let i = 0; i < 100; i++) stream.uint32();
    const copy = new RandomStream(stream.state);
    expect(Array.from({ length: 50 }, () => copy.uint32())).toEqual(
      Array.from({ length: 50 }, () => stream.uint32()),
    );
  });

  test("streams of one seed are uncorrelated, and so are seeds that follow each other", () => {
    const n = 20_000;
    const take = (seed: number, name: string) => {
      const stream = RandomStream.named(seed, name);
      return Float64Array.from({ length: n }, () => stream.uniform() - 0.5);
    };
    const all = [
      take(0, "init"),
      take(0, "shuffle"),
      take(0, "split"),
      take(0, "dropout"),
      take(1, "init"),
      take(2, "init"),
    ];
    for (const [i, a] of all.entries())
      for (const b of all.slice(i + 1)) {
        const correlation = (12 * a.reduce((sum, v, j) => sum + v * b[j]!, 0)) / n;
        // Of n independent pairs it strays by 1/√n: five times that.
        expect(Math.abs(correlation)).toBeLessThan(5 / Math.sqrt(n));
      }
  });

  test("uniform draws fill [0, 1) evenly and are exact in float32", () => {
    const stream = RandomStream.named(1, "u");
    const bins = new Float64Array(16);
    const n = 160_000;
    for (let i = 0; i < n; i++) {
      const v = stream.uniform();
      if (Math.fround(v) !== v) throw new Error(`${v} is not exact in float32`);
      bins[Math.floor(v * 16)]!++;
    }
    const chi = bins.reduce((sum, count) => sum + (count - n / 16) ** 2 / (n / 16), 0);
    // 15 degrees of freedom: above 37.7 once in a thousand.
    expect(chi).toBeLessThan(37.7);
  });

  test("normal draws have mean 0, variance 1 and the tails of a normal", () => {
    const stream = RandomStream.named(1, "n");
    const n = 100_000;
    const drawn = Float64Array.from({ length: n }, () => stream.normal());
    const mean = drawn.reduce((a, b) => a + b, 0) / n;
    const variance = drawn.reduce((sum, v) => sum + v * v, 0) / n;
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
    const beyondTwo = drawn.filter((v) => Math.abs(v) > 2).length / n;
    expect(Math.abs(beyondTwo - 0.0455)).toBeLessThan(0.003);
  });

  test("many normal draws at once are normal too, pairs independent, and leave no hidden state", () => {
    const stream = RandomStream.named(3, "n");
    const drawn = new Float32Array(100_001);
    stream.fillNormal(drawn);
    const n = drawn.length;
    const mean = drawn.reduce((a, b) => a + b, 0) / n;
    const variance = drawn.reduce((sum, v) => sum + v * v, 0) / n;
    const pairs = drawn.reduce((sum, v, i) => sum + (i % 2 ? v * drawn[i - 1]! : 0), 0) / (n / 2);
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
    expect(Math.abs(pairs)).toBeLessThan(4 / Math.sqrt(n / 2));
    expect(Math.abs(drawn.filter((v) => Math.abs(v) > 2).length / n - 0.0455)).toBeLessThan(0.003);
    const restored = new RandomStream(stream.state);
    const [one, other] = [new Float32Array(7), new Float32Array(7)];
    stream.fillNormal(one);
    restored.fillNormal(other);
    expect(other).toEqual(one);
  });

  test("bounded draws hit every value alike", () => {
    const stream = RandomStream.named(1, "b");
    const counts = new Float64Array(7);
    for (let i = 0; i < 70_000; i++) counts[stream.below(7)]!++;
    expect(counts.every((count) => Math.abs(count - 10_000) < 500)).toBe(true);
  });

  test("a shuffle is a permutation, every one of which comes up", () => {
    const stream = RandomStream.named(1, "s");
    const seen = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const items = Uint32Array.of(0, 1, 2);
      stream.shuffle(items);
      seen.set(items.join(), (seen.get(items.join()) ?? 0) + 1);
    }
    expect([...seen.keys()].sort()).toEqual(["0,1,2", "0,2,1", "1,0,2", "1,2,0", "2,0,1", "2,1,0"]);
    expect([...seen.values()].every((count) => Math.abs(count - 1000) < 150)).toBe(true);
  });

  test.each([0.1, 0.5, 0.9, 1 / 3, 0.75])("choose with a probability of %d, each element by itself", (p) => {
    const n = 320_007;
    const chosen = new Uint8Array(n);
    RandomStream.named(3, "dropout").fillChosen(chosen, p);
    const share = (values: Iterable<number>, count: number) => {
      let sum = 0;
      for (const value of values) sum += value;
      return sum / count;
    };
    // Means of n draws stray by √(p(1-p)/n): five times that. Places within a word of 32 and neighbours alike.
    const strays = (count: number, of: number) => 5 * Math.sqrt((of * (1 - of)) / count);
    expect(Math.abs(share(chosen, n) - p)).toBeLessThan(strays(n, p));
    for (let place = 0; place < 32; place++) {
      const there = chosen.filter((_, i) => i % 32 === place);
      expect(Math.abs(share(there, there.length) - p)).toBeLessThan(strays(there.length, p));
    }
    for (const distance of [1, 2, 31, 32]) {
      const both = chosen.map((value, i) => value & (chosen[(i + distance) % n] ?? 0));
      expect(Math.abs(share(both, n) - p * p)).toBeLessThan(2 * strays(n, p * p));
    }
  });

  test("choose alike wherever the array lies in its buffer", () => {
    const take = (offset: number) => {
      const chosen = new Uint8Array(new ArrayBuffer(100), offset, 77);
      RandomStream.named(4, "dropout").fillChosen(chosen, 0.3);
      return [...chosen];
    };
    expect(take(3)).toEqual(take(0));
    expect(take(4)).toEqual(take(0));
  });

  test("choose everything or nothing at the ends, and only within the array", () => {
    const stream = RandomStream.named(3, "dropout");
    const chosen = new Uint8Array(45).fill(7);
    stream.fillChosen(chosen.subarray(0, 40), 1);
    expect([...chosen]).toEqual([...new Array(40).fill(1), 7, 7, 7, 7, 7]);
    stream.fillChosen(chosen.subarray(0, 40), 0);
    expect([...chosen]).toEqual([...new Array(40).fill(0), 7, 7, 7, 7, 7]);
  });
});
