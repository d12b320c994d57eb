import { chosenEncoding } from "./compression.ts";

describe("chosenEncoding", () => {
  test.each([
    ["gzip", "gzip"],
    ["deflate", "deflate"],
    ["gzip, deflate, br", "gzip"],
    ["deflate, gzip", "deflate"],
    ["GZIP ;Q=0.5, deflate; q=0.8", "deflate"],
    ["br, gzip;q=0.001", "gzip"],
  ])("takes %j for %s", (asked, chosen) => {
    expect(chosenEncoding(asked)).toBe(chosen);
  });

  test.each([
    undefined,
    "",
    "br",
    "*",
    "identity",
    "identity, gzip;q=0.5",
    "gzip;q=0",
    "gzip;q=nonsense",
    "gzip;level=9",
    ",;,=;",
  ])("leaves the answer as it is for %j", (asked) => {
    expect(chosenEncoding(asked)).toBeUndefined();
  });
});
