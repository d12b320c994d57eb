import { digitOf } from "./answer.ts";

const answer = (body: string | Uint8Array) => ({ status: 200, body: Buffer.from(body as string) });
const scores = Buffer.from(new Float32Array([0, 0, 0.9, 0, 0, 0, 0, 0, 0, 0.1]).buffer);

describe("an answer's digit", () => {
  test("is named in JSON, or the likeliest of ten probabilities, and nothing else", () => {
    const infer = (data: number[]) => answer(JSON.stringify({ outputs: [{ data }] }));
    expect(digitOf("json", answer('{"prediction":7}'))).toBe(7);
    expect(digitOf("json", infer([0, 0, 0.9, 0, 0, 0, 0, 0, 0, 0.1]))).toBe(2);
    expect(digitOf("json", infer([4]))).toBe(4);
    expect(digitOf("json", answer("[5]"))).toBe(5);
    expect(digitOf("json", infer([1, 2]))).toContain("no prediction");
    expect(digitOf("json", answer("<html>"))).toContain("not JSON");
  });

  test("is the likeliest of ten scores at the end of a binary body", () => {
    expect(digitOf("scores", answer(scores))).toBe(2);
    expect(digitOf("scores", answer(Buffer.concat([Buffer.from('{"outputs":[]}'), scores])))).toBe(2);
    expect(digitOf("scores", answer("short"))).toContain("too few");
  });

  test("is the likeliest of ten scores in a message's raw contents", () => {
    const before = Buffer.from([0x0a, 2, 0x6d, 0x6e]);
    const raw = Buffer.concat([Buffer.from([(6 << 3) | 2, scores.length]), scores]);
    expect(digitOf("message", answer(Buffer.concat([before, raw])))).toBe(2);
    expect(digitOf("message", answer(before))).toContain("no raw contents");
    expect(digitOf("message", answer(raw.subarray(0, 20)))).toContain("no raw contents");
  });

  test("is not looked for in an error", () => {
    expect(digitOf("json", { status: 503, body: Buffer.from("queue full") })).toBe("status 503: queue full");
  });
});
