/** What is drawn for every step: masks of a rate, normal noise, and the same again from a saved state. */

import { RandomStream } from "../random/stream.ts";
import { RandomFeed } from "./random-feed.ts";

const feedOf = () =>
  new RandomFeed([
    { name: "noise", kind: "normal", shape: [101, 99] },
    { name: "mask", kind: "keep", rate: 0.4, shape: [100, 1, 100] },
  ]);
const drawnBy = (feed: RandomFeed) => ({
  noise: (feed.feeds.noise!.data as Float32Array).slice(),
  mask: (feed.feeds.mask!.data as Uint8Array).slice(),
});

describe("what a batch is fed with at random", () => {
  test("has the kind and shape each layer asked for, afresh for every step", () => {
    const feed = feedOf();
    expect(feed.feeds.noise).toMatchObject({ type: "float32", dims: [101, 99] });
    expect(feed.feeds.mask).toMatchObject({ type: "bool", dims: [100, 1, 100] });
    const random = RandomStream.named(0, "dropout");
    feed.draw(random);
    const first = drawnBy(feed);
    feed.draw(random);
    const second = drawnBy(feed);
    // 10,000 draws: means stray by 0.01 and 0.005, the product of two independent normals by 0.01.
    const mean = (values: ArrayLike<number>) =>
      Array.from(values).reduce((sum, v) => sum + v, 0) / values.length;
    expect(Math.abs(mean(first.noise))).toBeLessThan(0.04);
    expect(Math.abs(mean(first.noise.map((v) => v * v)) - 1)).toBeLessThan(0.06);
    expect(Math.abs(mean(first.noise.map((v, i) => v * second.noise[i]!)))).toBeLessThan(0.04);
    expect(Math.abs(mean(first.mask) - 0.6)).toBeLessThan(0.02);
    expect(Math.abs(mean(first.mask.map((v, i) => v & second.mask[i]!)) - 0.36)).toBeLessThan(0.02);
  });

  test("is the same again from the stream's saved state", () => {
    const random = RandomStream.named(0, "dropout");
    const feed = feedOf();
    feed.draw(random);
    const { state } = random;
    feed.draw(random);
    const other = feedOf();
    other.draw(new RandomStream(state));
    expect(drawnBy(other)).toEqual(drawnBy(feed));
  });
});
