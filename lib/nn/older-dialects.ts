/**
 * What older dialects say in the same words and mean otherwise, in Keras 3's words. Keras 2 and TensorFlow.js, which
 * sign what they write (`keras_version`), have another hard sigmoid: 0.2·x + 0.5 between 0 and 1.
 */

const OLDER = /^(?:[12]\.|tfjs)/;
/** Deeper than any model that is read. */
const MAX_DEPTH = 1000;

/** The architecture itself, or a copy in Keras 3's words. */
export function inKeras3(architecture: unknown): unknown {
  const version = (architecture as { keras_version?: unknown } | null | undefined)?.keras_version;
  return typeof version === "string" && OLDER.test(version) ? translated(architecture, 0) : architecture;
}

function translated(value: unknown, depth: number): unknown {
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return value;
  if (Array.isArray(value)) return value.map((inner) => translated(inner, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const hard = /activation$/i.test(key) && typeof inner === "string" && /^hard_?sigmoid$/i.test(inner);
      return [key, hard ? "keras2_hard_sigmoid" : translated(inner, depth + 1)];
    }),
  );
}
