/**
 * Writes the one kind of WebAssembly module that is needed here: a single function over a memory it is given, without
 * results, with 128-bit vectors. The binary format and its opcodes are those of webassembly.github.io/spec/core
 * (release 2.0, sections 5.3 to 5.5). What is written is not checked: the engine does that when it compiles it.
 */

/** Instructions of a function body, as bytes. */
export type Code = number[];

const I32 = 0x7f;
const V128 = 0x7b;
const NO_RESULT = 0x40;

/** Instructions beyond the one-byte ones, by their number after the prefix. */
const VECTOR_OPS = {
  "v128.load": 0,
  "v128.load32_splat": 9,
  "v128.store": 11,
  "v128.const": 12,
  "f32x4.eq": 65,
  "f32x4.lt": 67,
  "f32x4.gt": 68,
  "v128.and": 78,
  "v128.andnot": 79,
  "v128.bitselect": 82,
  "f32x4.abs": 224,
  "f32x4.neg": 225,
  "f32x4.sqrt": 227,
  "f32x4.add": 228,
  "f32x4.sub": 229,
  "f32x4.mul": 230,
  "f32x4.div": 231,
  "f32x4.min": 232,
  "f32x4.max": 233,
} as const;
export type VectorOp = keyof typeof VECTOR_OPS;

export const vectorOp = (name: VectorOp): Code => [0xfd, ...unsigned(VECTOR_OPS[name])];
/** Any alignment, no offset beyond the address on the stack. */
export const access = (name: "v128.load" | "v128.load32_splat" | "v128.store"): Code => [
  ...vectorOp(name),
  0,
  0,
];
/** Four times the same float32. */
export const splat = (value: number): Code => {
  const bytes = new Uint8Array(Float32Array.of(value, value, value, value).buffer);
  return [...vectorOp("v128.const"), ...bytes];
};

export const getLocal = (index: number): Code => [0x20, ...unsigned(index)];
export const setLocal = (index: number): Code => [0x21, ...unsigned(index)];
/** Constants below 64 only: one byte, whose sign bit is nought. */
export const smallInteger = (value: number): Code => [0x41, value];
export const ADD_INTEGERS: Code = [0x6a];
export const LESS_UNSIGNED: Code = [0x49];
/** Again while the integer that `body` leaves on the stack is not nought. */
export const loopWhile = (body: Code): Code => [0x03, NO_RESULT, ...body, 0x0d, 0, 0x0b];

/**
 * A module that imports `memory.memory` and exports `run`, whose parameters are 32-bit integers: locals 0 and up. After
 * them come `integers` locals of the same type and then `vectors` ones of 128 bits, all of them nought.
 */
export function moduleBytes(given: {
  parameters: number;
  integers: number;
  vectors: number;
  body: Code;
}): Uint8Array<ArrayBuffer> {
  const { parameters, integers, vectors, body } = given;
  const locals = list([
    [...unsigned(integers), I32],
    [...unsigned(vectors), V128],
  ]);
  const code = [...locals, ...body, 0x0b];
  const sections: [id: number, entry: Code][] = [
    [1, [0x60, ...list(Array.from({ length: parameters }, () => [I32])), 0]],
    [2, [...name("memory"), ...name("memory"), 0x02, 0x00, 0]],
    [3, [0]],
    [7, [...name("run"), 0x00, 0]],
    [10, [...unsigned(code.length), ...code]],
  ];
  const written = sections.flatMap(([id, entry]) => {
    const content = list([entry]);
    return [id, ...unsigned(content.length), ...content];
  });
  return Uint8Array.from([0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...written]);
}

function list(items: readonly Code[]): Code {
  return [...unsigned(items.length), ...items.flat()];
}

function name(text: string): Code {
  const bytes = [...new TextEncoder().encode(text)];
  return [...unsigned(bytes.length), ...bytes];
}

/** LEB128. */
function unsigned(value: number): Code {
  const bytes: Code = [];
  let rest = value;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}
