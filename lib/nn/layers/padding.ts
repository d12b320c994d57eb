/** Keras's "same" and "valid" padding as ONNX pads [begin..., end...]; "same" puts the odd one at the end. */

export function paddingOf(
  padding: "valid" | "same",
  sizes: readonly number[],
  kernel: readonly number[],
  strides: readonly number[],
  dilations: readonly number[],
): number[] {
  const total = sizes.map((size, i) => {
    if (padding === "valid") return 0;
    const reach = dilations[i]! * (kernel[i]! - 1) + 1;
    return Math.max((Math.ceil(size / strides[i]!) - 1) * strides[i]! + reach - size, 0);
  });
  const begin = total.map((pad) => Math.floor(pad / 2));
  return [...begin, ...total.map((pad, i) => pad - begin[i]!)];
}
