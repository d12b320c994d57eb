/** Axes as Keras's normalisations declare them: one, or a list, counted from either end. */

import { InvalidModelError } from "../../errors.ts";
import type { Dim } from "../../onnx/graph.ts";
import type { ConfigReader } from "../config-reader.ts";
import { kerasShape, type LayerValue } from "../layer.ts";
import { shown } from "../shown.ts";

/** Reads `axis`. @throws {InvalidModelError} for anything but whole numbers */
export function readAxes(config: ConfigReader, fallback: number): number[] {
  const given = config.raw("axis") ?? fallback;
  const axes: unknown[] = Array.isArray(given) ? given : [given];
  if (!axes.every((axis) => Number.isSafeInteger(axis)))
    return config.refuse("axis", given, "one axis, or a list of axes");
  return axes as number[];
}

/**
 * Places of the axes in a Keras shape, rising.
 * @throws {InvalidModelError} for the batch, an axis the shape lacks, and the same axis twice
 */
export function placesOf(axes: readonly number[], shape: readonly Dim[]): number[] {
  const places = axes.map((axis) => (axis < 0 ? axis + shape.length : axis)).sort((a, b) => a - b);
  const fit = places.every((place, i) => place > (places[i - 1] ?? 0) && place < shape.length);
  if (!fit)
    throw new InvalidModelError(
      "axis",
      `received ${shown(axes)}, expected axes of [${shape.join(",")}] after the batch`,
    );
  return places;
}

/** An order of axes that ends with those at `places`; the value's own, if it does. */
export function endingWith(x: LayerValue, places: readonly number[]): number[] {
  const rank = x.value.shape.length;
  const own = x.order ?? Array.from({ length: rank }, (_, i) => i);
  return [...own.filter((axis) => !places.includes(axis)), ...places];
}

/** The sizes at `places`. @throws {InvalidModelError} when one is not known */
export function sizesAt(x: LayerValue, places: readonly number[]): number[] {
  const shape = kerasShape(x);
  return places.map((place) => {
    const size = shape[place];
    if (typeof size !== "number")
      throw new InvalidModelError(
        "input",
        `axis ${place} must have a known size, received [${shape.join(",")}]`,
      );
    return size;
  });
}
