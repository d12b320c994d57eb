/**
 * JSON Schemas (draft 2020-12, as OpenAPI 3.1 has it) in few words. Objects are closed: a field that is not named is
 * not there. `open` makes one of which only a part is named, as protocols demand whose servers ignore the rest.
 */

export type Schema = Readonly<Record<string, unknown>>;
export type Fields = Readonly<Record<string, Schema>>;

export const string: Schema = { type: "string" };
export const number: Schema = { type: "number" };
export const boolean: Schema = { type: "boolean" };
/** Anything at all. */
export const any: Schema = {};

export function object(required: Fields, optional: Fields = {}): Schema {
  return {
    type: "object",
    properties: { ...required, ...optional },
    ...(Object.keys(required).length > 0 && { required: Object.keys(required) }),
    additionalProperties: false,
  };
}

export function open(schema: Schema): Schema {
  return { ...schema, additionalProperties: true };
}

export function mapOf(values: Schema): Schema {
  return { type: "object", additionalProperties: values };
}

export function arrayOf(items: Schema, bounds: { minItems?: number; maxItems?: number } = {}): Schema {
  return { type: "array", items, ...bounds };
}

export function integer(minimum?: number, maximum?: number): Schema {
  return {
    type: "integer",
    ...(minimum !== undefined && { minimum }),
    ...(maximum !== undefined && { maximum }),
  };
}

export function between(minimum: number, maximum: number): Schema {
  return { type: "number", minimum, maximum };
}

export function enumOf(values: readonly unknown[]): Schema {
  return { enum: values };
}

export function matching(pattern: RegExp): Schema {
  return { type: "string", pattern: pattern.source };
}

export function either(...schemas: readonly Schema[]): Schema {
  return { anyOf: schemas };
}

/** A schema of `components/schemas`. */
export function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

export function described(description: string, schema: Schema): Schema {
  return { ...schema, description };
}
