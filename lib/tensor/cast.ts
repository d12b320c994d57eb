/** Numbers of one element type as another's. */

import { allocate, type Datatype, type NumericArray } from "./datatype.ts";

/**
 * The same numbers as `to`; the array itself where it already is. Whole numbers beyond 2^53 lose their last bits.
 * `to` and the array's own type are not FP16 or BF16, which are raw bits here.
 */
export function castArray(data: NumericArray, to: Datatype): NumericArray {
  const cast = allocate(to, data.length) as NumericArray;
  if (cast.constructor === data.constructor) return data;
  const big = cast instanceof BigInt64Array || cast instanceof BigUint64Array;
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]!);
    cast[i] = big ? BigInt(value) : value;
  }
  return cast;
}
