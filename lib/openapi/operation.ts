/** What is said of one route: in a table by method and URL template, `GET /v2/models/{model}`. */

import type { Schema } from "./schema.ts";

export type Tag = "Open Inference Protocol" | "TensorFlow Serving" | "Images" | "Management" | "Operations";

export const JSON_TYPE = "application/json";
export const BINARY_TYPE = "application/octet-stream";

/** By content type; a lone schema is that of JSON. */
export type Content = Schema | { byType: Readonly<Record<string, Schema>> };

export type Answer = { description: string; content: Content };

export type QueryParameter = { name: string; description: string; schema: Schema };
export type HeaderParameter = QueryParameter;

/** `required`: @default true */
export type RequestContent = { content: Content; required?: boolean; example?: unknown };

export type Operation = {
  tag: Tag;
  summary: string;
  description?: string;
  query?: readonly QueryParameter[];
  headers?: readonly HeaderParameter[];
  request?: RequestContent;
  /** By status; every operation may answer an error besides. */
  answers: Readonly<Record<number, Answer>>;
};

export type Operations = Readonly<Record<string, Operation>>;

/** The answer that most operations give. */
export function ok(description: string, content: Content): Operation["answers"] {
  return { 200: { description, content } };
}

/** The same operation for a version of a model, or a label: it answers alike. */
export function forEach(
  keys: readonly string[],
  operation: Operation,
  of: (key: string) => string,
): Operations {
  return Object.fromEntries(keys.map((key) => [key, { ...operation, summary: operation.summary + of(key) }]));
}
