import { parseInferRequest } from "../oip/infer-request.ts";
import { cutRows, NumberRow } from "./number-rows.ts";

const LONG = Array.from({ length: 20 }, (_, i) => i * 3 - 7);

/** What a body with one row holds, after the row is put back. */
function rowOf(json: string): unknown {
  const cut = cutRows(Buffer.from(json), "data");
  if (!cut) return undefined;
  const { data } = JSON.parse(cut.text) as { data: unknown };
  const row = cut.row(data);
  return row instanceof NumberRow ? Array.from(row.values) : row;
}

const fill = (number: string) => `{"data": [${Array(20).fill(number).join(",")}]}`;

describe("a row of numbers", () => {
  test.each([
    ..."0 -0 1 9 10 255 -1 999999999 1234567890 123456789012345 -123456789012345".split(" "),
    ..."0.5 -0.25 3.14159 0.1 123456.789 0.00001 0.000000000000001 1e3 1E3 1e+3 25e-2 -1.5e-7 0e0 0.0 1e22".split(
      " ",
    ),
    ..."5e-22 123456789012345e22 0.3 2.2250738585 900719.925474099".split(" "),
  ])("of %s has the values that JSON.parse gives", (number) => {
    const values = rowOf(fill(number));
    expect(values).toEqual(JSON.parse(fill(number)).data);
  });

  test("has the values that JSON.parse gives, whatever they are", () => {
    let seed = 7;
    const draw = (below: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed % below;
    };
    for (let round = 0; round < 300; round++) {
      const numbers = Array.from({ length: 16 + draw(100) }, () => {
        const digits = String(draw(2 ** 31)).slice(0, 1 + draw(10));
        const form = draw(5);
        if (form === 0) return String(Number(digits));
        if (form === 1) return `${Number(digits)}.${draw(100_000)}`;
        if (form === 2) return `-0.${"0".repeat(draw(6))}${digits}`;
        if (form === 3) return `${Number(digits)}e${draw(24) - 12}`;
        return String(-Number(digits));
      });
      const json = `{"data":[${numbers.join([",", " , ", ",\n"][draw(3)])}]}`;
      expect(rowOf(json)).toEqual(JSON.parse(json).data);
    }
  });

  test.each([
    ["short", '{"data":[1,2,3]}'],
    ["nested", `{"data":[${JSON.stringify(LONG)}]}`],
    ["mixed with a word", `{"data":[${LONG},null]}`],
    ["of strings", fill('"1"')],
    ["with leading zeros", fill("01")],
    ["without a digit after the point", fill("1.")],
    ["without a digit before the point", fill(".5")],
    ["with a plus", fill("+1")],
    ["with a lonely minus", fill("-")],
    ["with an exponent without digits", fill("1e")],
    ["with a comma at its end", `{"data":[${LONG},]}`],
    ["without its end", `{"data":[${LONG}`],
    ["with integers that are not exact", fill("9007199254740993")],
    ["with more digits than are computed exactly", fill("0.12345678955316544")],
    ["with large exponents", fill("1e300")],
    ["under another key", `{"date":${JSON.stringify(LONG)}}`],
  ])("that is %s is left to JSON.parse", (_, json) => {
    expect(cutRows(Buffer.from(json), "data")).toBeUndefined();
  });

  test("can be one of several, asked for in their order", () => {
    const other = LONG.map((number) => number + 0.5);
    const cut = cutRows(
      Buffer.from(JSON.stringify([{ data: LONG }, { data: [1] }, { data: other }])),
      "data",
    )!;
    const read = (JSON.parse(cut.text) as { data: unknown }[]).map(({ data }) => cut.row(data));
    expect(read.map((row) => (row instanceof NumberRow ? Array.from(row.values) : row))).toEqual([
      LONG,
      [1],
      other,
    ]);
    expect(cut.complete).toBe(true);
  });

  test("can be longer than any before it", () => {
    const long = Array.from({ length: 100_000 }, (_, i) => i / 8);
    expect(rowOf(JSON.stringify({ data: long }))).toEqual(long);
    expect(rowOf(JSON.stringify({ data: LONG }))).toEqual(LONG);
  });
});

/** The same body, written so that no row is found in it. */
const hidden = (json: string) => json.replaceAll('"data"', '"d\\u0061ta"');

function outcome(json: string): unknown {
  try {
    return parseInferRequest(Buffer.from(json), "mnist");
  } catch (error) {
    const { type, data, message } = error as { type: string; data: unknown; message: string };
    return type === "MALFORMED_BODY" ? type : { type, data, message };
  }
}

describe("an inference request with rows", () => {
  const row = JSON.stringify(LONG);
  const input = (data: string, datatype = "FP32", more = "") =>
    `{"name":"x","shape":[20],"datatype":"${datatype}","data":${data}${more}}`;

  test.each([
    ["one input", `{"inputs":[${input(row)}]}`],
    ["two inputs", `{"inputs":[${input(row)},${input(row).replace('"x"', '"y"')}]}`],
    ["two inputs of one name", `{"inputs":[${input(row)},${input(row)}]}`],
    ["bytes", `{"inputs":[${input(row, "UINT8")}]}`],
    ["integers", `{"inputs":[${input(row, "INT32")}]}`],
    ["64-bit integers", `{"inputs":[${input(row, "INT64")}]}`],
    ["booleans", `{"inputs":[${input(row, "BOOL")}]}`],
    ["zeros and ones as booleans", `{"inputs":[${input(JSON.stringify(LONG.map((n) => n & 1)), "BOOL")}]}`],
    ["numbers where strings are wanted", `{"inputs":[${input(row, "BYTES")}]}`],
    ["numbers where halves are wanted", `{"inputs":[${input(row, "FP16")}]}`],
    [
      "fractions where integers are wanted",
      `{"inputs":[${input(JSON.stringify(LONG.map((n) => n / 2)), "INT8")}]}`,
    ],
    ["a shape of other size", `{"inputs":[${input(row).replace("[20]", "[4,4]")}]}`],
    ["a shape of several axes", `{"inputs":[${input(row).replace("[20]", "[4,5]")}]}`],
    ["data twice", `{"inputs":[${input(row, "FP32", `,"data":${row}`)}]}`],
    ["data where none is known", `{"data":${row},"inputs":[${input(row)}]}`],
    ["data of a parameter", `{"parameters":{"data":${row}},"inputs":[${input(row)}]}`],
    ["a string that looks like data", `{"id":"\\"data\\":${row}","inputs":[${input(row)}]}`],
    ["a string that ends like a key", `{"id":"a \\"data","inputs":[${input(row)}]}`],
    ["a broken end", `{"inputs":[${input(row)}]`],
    ["a broken middle", `{"inputs":[${input(row)} ${input(row)}]}`],
    ["no object", `[${input(row)}]`],
  ])("that has %s is read as one without", (_, json) => {
    expect(outcome(json)).toEqual(outcome(hidden(json)));
  });

  test("that is broken anywhere is read or refused as one without", () => {
    const json = `{"id":"7","inputs":[${input(row)},${input(row, "INT64").replace('"x"', '"y"')}]}`;
    const at = json.indexOf('"data"');
    for (let i = 0; i < json.length; i++) {
      // The key itself is what is looked for.
      if (json.slice(Math.max(0, i - 6), i + 7).includes("data")) continue;
      for (const byte of ["", "0", "-", ",", "]", '"', "}", " "]) {
        const broken = json.slice(0, i) + byte + json.slice(i + 1);
        expect([i, byte, outcome(broken)]).toEqual([i, byte, outcome(hidden(broken))]);
      }
    }
    expect(at).toBeGreaterThan(0);
  });
});
