/** What a layer reads of its call: tensors and switches given by name. */

import { InvalidModelError } from "../../errors.ts";
import type { Value } from "../../onnx/builder.ts";
import type { CallArguments } from "../layer.ts";
import { shown } from "../shown.ts";

/** A tensor of the call. */
export function named({ tensors }: CallArguments, name: string): Value | undefined {
  return tensors.get(name)?.[0]?.value;
}

/** A switch of the call. @throws {InvalidModelError} when it is neither true nor false */
export function flag({ options }: CallArguments, name: string, fallback = false): boolean {
  const value = options.get(name) ?? fallback;
  if (typeof value === "boolean") return value;
  throw new InvalidModelError(`argument '${name}'`, `received ${shown(value)}, expected true or false`);
}
