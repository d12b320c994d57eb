import { reloads } from "./reloads.ts";

test("replacing the version that serves fails no request and mixes no versions, also when a load fails", async () => {
  const { versions, failedLoads } = await reloads({ reloads: 6, failEvery: 3, clients: 4, calmMs: 0 });
  expect(versions).toEqual([1, 2, 4, 5, 7]);
  expect(failedLoads).toBe(2);
});
