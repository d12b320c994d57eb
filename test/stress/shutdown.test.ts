import { shutdown } from "./shutdown.ts";

describe("a node that is told to stop under load", () => {
  test("is unready first, and answers everything it was asked", async () => {
    const { before, readiness, grpcReadiness, exit, stderr } = await shutdown({
      clients: 16,
      stubborn: false,
    });
    expect(before).toBeGreaterThanOrEqual(16);
    expect(readiness).toEqual([200, 503, "refused"]);
    expect(grpcReadiness).toEqual([200, 503, "refused"]);
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: "" });
  });

  test("answers clients that do not heed it either, as long as it takes their connections", async () => {
    const { exit, stderr } = await shutdown({ clients: 16, stubborn: true });
    expect({ exit, stderr }).toEqual({ exit: 0, stderr: "" });
  });
});
