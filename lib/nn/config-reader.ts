/**
 * Reads a Keras `config` object field by field and refuses what is left over: an option that would be ignored in
 * silence trains another network than the one declared. Accepts the spellings of Keras 2, Keras 3 and
 * TensorFlow.js (snake case and camel case).
 */

import { InvalidModelError, UnknownComponentError } from "../errors.ts";
import type { KerasObject } from "../protocol/jobs.ts";
import { nearest } from "./nearest.ts";
import { shown } from "./shown.ts";

const camel = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

export class ConfigReader {
  readonly where: string;
  private readonly config: Record<string, unknown>;
  private readonly unread: Set<string>;
  private readonly asked: string[] = [];

  constructor(where: string, config: unknown) {
    if (typeof config !== "object" || config === null || Array.isArray(config))
      throw new InvalidModelError(where, `its config is ${shown(config)}, expected an object`);
    this.where = where;
    this.config = config as Record<string, unknown>;
    this.unread = new Set(Object.keys(config));
  }

  raw(name: string): unknown {
    this.asked.push(name);
    for (const spelling of [name, camel(name)])
      if (this.unread.has(spelling) || spelling in this.config) {
        this.unread.delete(spelling);
        const value = this.config[spelling];
        if (value !== null && value !== undefined) return value;
      }
    return undefined;
  }

  /** Whether a field is there, be it null, where that is not the same as leaving it out. */
  states(name: string): boolean {
    return name in this.config || camel(name) in this.config;
  }

  /** Accepts fields that have no effect here. */
  ignore(...names: string[]): void {
    for (const name of names) this.raw(name);
  }

  /** Refuses a field that is set to anything but null or `allowed`. */
  unset(name: string, ...allowed: unknown[]): void {
    const value = this.raw(name);
    if (value !== undefined && !allowed.includes(value))
      this.refuse(name, value, "null: it is not supported");
  }

  integer(name: string, options: { fallback?: number; min?: number }): number {
    const value = this.raw(name) ?? options.fallback;
    const min = options.min ?? 1;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min)
      return this.refuse(name, value, `an integer of at least ${min}`);
    return value;
  }

  number(
    name: string,
    options: { fallback?: number; min?: number; above?: number; max?: number; below?: number },
  ): number {
    const value = this.raw(name) ?? options.fallback;
    const {
      min = Number.NEGATIVE_INFINITY,
      above = Number.NEGATIVE_INFINITY,
      max = Number.POSITIVE_INFINITY,
      below = Number.POSITIVE_INFINITY,
    } = options;
    const inside = (number: number) => number >= min && number > above && number <= max && number < below;
    if (typeof value === "number" && Number.isFinite(value) && inside(value)) return value;
    const least = above > min ? `above ${above}` : `from ${min}`;
    return this.refuse(name, value, `a number ${least} to ${Math.min(max, below)}`);
  }

  /** As `number`, for an option that may be left out. */
  optionalNumber(name: string, options: { min?: number; above?: number }): number | undefined {
    return this.raw(name) === undefined ? undefined : this.number(name, options);
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.raw(name) ?? fallback;
    return typeof value === "boolean" ? value : this.refuse(name, value, "true or false");
  }

  choice<T extends string>(name: string, allowed: readonly T[], fallback: T): T {
    const value = this.raw(name) ?? fallback;
    // TensorFlow.js says "channelsLast" where Keras says "channels_last".
    const found = allowed.find((candidate) => candidate === value || camel(candidate) === value);
    return found ?? this.refuse(name, value, `one of ${allowed.join(", ")}`);
  }

  /** Two sizes, or one number for both. */
  pair(name: string, fallback?: number | [number, number]): [number, number] {
    const value = this.raw(name) ?? fallback;
    const pair = typeof value === "number" ? [value, value] : value;
    if (!Array.isArray(pair) || pair.length !== 2 || !pair.every((v) => Number.isSafeInteger(v) && v > 0))
      return this.refuse(name, value, "one or two positive integers");
    return pair as [number, number];
  }

  /** A component by name ("relu", {class_name, config}) out of its table. */
  component(name: string, fallback: string): KerasObject {
    return kerasObject(this.raw(name) ?? fallback, `${this.where}.${name}`);
  }

  refuse(name: string, received: unknown, expected: string): never {
    throw new InvalidModelError(`${this.where}.${name}`, `received ${shown(received)}, expected ${expected}`);
  }

  /** @throws {InvalidModelError} naming the first field nobody asked for */
  done(): void {
    for (const name of this.unread) {
      const hint = nearest(name, this.asked);
      throw new InvalidModelError(
        `${this.where}.${name}`,
        `no such option${hint ? `; did you mean '${hint}'?` : ""}`,
      );
    }
  }
}

/** A serialised component in any Keras dialect, as class name and config. @throws {InvalidModelError} */
export function kerasObject(value: unknown, where: string): KerasObject {
  if (typeof value === "string" && value !== "") return { class_name: value, config: {} };
  const object = value as { class_name?: unknown; className?: unknown; config?: unknown } | null;
  const className = object?.class_name ?? object?.className;
  if (typeof value !== "object" || typeof className !== "string")
    throw new InvalidModelError(where, `received ${shown(value)}, expected a name or {class_name, config}`);
  const config = object?.config ?? {};
  // Keras 3 serialises plain functions as {class_name: "function", config: "relu"}.
  if (className === "function" && typeof config === "string") return { class_name: config, config: {} };
  return { class_name: className, config: config as Record<string, unknown> };
}

/**
 * Looks a component up by its Keras name, in snake or Pascal case.
 * @throws {UnknownComponentError} with the nearest known name
 */
export function lookUp<T>(table: Readonly<Record<string, T>>, kind: string, name: string): T {
  const plain = (text: string) => text.toLowerCase().replaceAll("_", "");
  const key = Object.keys(table).find((candidate) => plain(candidate) === plain(name));
  if (key === undefined)
    throw new UnknownComponentError(kind, name, nearest(name, Object.keys(table)), Object.keys(table));
  return table[key]!;
}
