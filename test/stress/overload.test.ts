import { overload } from "./overload.ts";

test("a node with three times its load refuses what is too much, answers the rest, and recovers", async () => {
  const { sent, answered, refused, late, mostQueued, queueBound } = await overload({
    seconds: 2,
    deadlineMs: 100_000,
  });
  expect(answered + refused).toBe(sent);
  expect(late).toBe(0);
  expect(refused).toBeGreaterThan(0);
  expect(answered).toBeGreaterThanOrEqual(queueBound);
  expect(mostQueued).toBeLessThanOrEqual(queueBound);
});
