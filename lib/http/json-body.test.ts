import { parseJson } from "./json-body.ts";

const nested = (levels: number) => `${"[".repeat(levels)}${"]".repeat(levels)}`;

describe("parseJson", () => {
  test("takes 100 levels and refuses 101, whatever is in them", () => {
    expect(() => parseJson(nested(100))).not.toThrow();
    expect(() => parseJson(nested(101))).toThrow("deeper than the limit of 100 levels, at position 100");
    expect(() => parseJson('{"a":'.repeat(101))).toThrow("100 levels");
    expect(() => parseJson(nested(2_000_000))).toThrow("100 levels");
  });

  test("counts levels, not brackets, and none in strings", () => {
    expect(() => parseJson(JSON.stringify(new Array(1000).fill([[]])))).not.toThrow();
    for (const text of [
      "[".repeat(500),
      `"${"[".repeat(500)}`,
      `\\${"[{".repeat(200)}`,
      `\\"${"[".repeat(500)}\\\\`,
    ])
      expect(parseJson(JSON.stringify([text, { [text]: text }]))).toEqual([text, { [text]: text }]);
    expect(() => parseJson(`"${"[".repeat(500)}`)).toThrow("not JSON");
  });
});
