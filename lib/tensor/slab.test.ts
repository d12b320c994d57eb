import { DATATYPES, elementBytes } from "./datatype.ts";
import { allocateShared } from "./slab.ts";

test.each(DATATYPES.filter((datatype) => datatype !== "BYTES"))(
  "arrays of %s share buffers and no element",
  (datatype) => {
    const arrays = Array.from({ length: 500 }, (_, i) =>
      allocateShared(datatype, 1 + (i % 700)),
    ) as Uint8Array[];
    const regions = arrays
      .map(({ buffer, byteOffset, byteLength }) => ({ buffer, byteOffset, end: byteOffset + byteLength }))
      .sort((a, b) => a.byteOffset - b.byteOffset);
    expect(new Set(regions.map(({ buffer }) => buffer)).size).toBeLessThan(arrays.length / 2);
    for (const [i, region] of regions.entries())
      for (const next of regions.slice(i + 1))
        if (next.buffer === region.buffer) expect(next.byteOffset).toBeGreaterThanOrEqual(region.end);
    for (const [i, array] of arrays.entries()) {
      expect(array.length).toBe(1 + (i % 700));
      expect(array.every((element) => Number(element) === 0)).toBe(true);
    }
  },
);

test("large arrays have a buffer of their own", () => {
  const large = allocateShared("FP32", 100_000) as Float32Array;
  expect(large.buffer.byteLength).toBe(100_000 * elementBytes("FP32"));
});

test("strings have none", () => {
  expect(allocateShared("BYTES", 3)).toEqual(["", "", ""]);
});
