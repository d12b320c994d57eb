import { readAffinity } from "./affinity.ts";

describe("an affinity key", () => {
  test("is any printable text of 1 to 256 characters", () => {
    for (const key of ["a", "user 42/session-7", "ключ", "x".repeat(256)])
      expect(readAffinity(key, "key")).toBe(key);
  });

  test("is refused by name when it is none", () => {
    const refused = [undefined, null, 42, {}, "", "x".repeat(257), "a\nb", "a\u0000", "\u200b"];
    for (const value of refused)
      expect(() => readAffinity(value, "header X-Affinity-Key")).toThrow(
        expect.objectContaining({
          type: "INVALID_INPUT",
          message: expect.stringMatching(/header X-Affinity-Key.*1 to 256 printable characters/),
        }),
      );
  });
});
