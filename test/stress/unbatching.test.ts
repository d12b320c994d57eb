import { unbatching } from "./unbatching.ts";

test("every caller gets its own rows, whoever else was in the batch", async () => {
  const { outcomes, kills } = await unbatching({
    requests: 3000,
    concurrency: 200,
    killEvery: 1000,
    seed: 1,
  });
  expect(Object.values(outcomes).reduce((sum, count) => sum + count, 0)).toBe(3000);
  expect(kills).toBe(3);
  // What each of them is has been checked; these must have occurred.
  for (const name of [
    "plain: answered",
    "urgent: answered",
    "repeated: answered",
    "poisoned: EXECUTION_FAILED",
    "cancelled: CANCELLED",
    "expired: DEADLINE_EXCEEDED",
  ])
    expect(outcomes[name]).toBeGreaterThan(0);
});
