/**
 * Names of layers where a Keras file does not state them: in those of Keras 3.0 the groups of weights are called by
 * class and count alone (`layers/conv2d_1`), in the order in which the model's configuration lists its layers.
 */

/** A layer or model as Keras JSON declares it. */
export type Declared = { class_name?: unknown; config?: unknown };

/** Attributes that Keras's layers keep layers in, and what those are called. */
const INNER_NAMES: Readonly<Record<string, string>> = {
  query_dense: "query",
  key_dense: "key",
  value_dense: "value",
  output_dense: "attention_output",
};

/** The layer that a group within the list of a model's layers stands for. */
export function listedLayer(model: Declared | undefined, group: string): Declared | undefined {
  const layers = (model?.config as { layers?: unknown } | undefined)?.layers;
  if (!Array.isArray(layers)) return undefined;
  const counts = new Map<string, number>();
  return (layers as Declared[]).find(({ class_name: className }) => {
    const stem = snakeCase(String(className));
    const count = counts.get(stem) ?? 0;
    counts.set(stem, count + 1);
    return (count === 0 ? stem : `${stem}_${count}`) === group;
  });
}

/** The layer that a layer keeps under this attribute, as far as its configuration tells. */
export function innerLayer(layer: Declared | undefined, attribute: string): Declared | undefined {
  const { layer: inner, backward_layer: backward } = (layer?.config ?? {}) as Record<
    string,
    Declared | undefined
  >;
  if (attribute === "layer") return inner;
  const way = /^(forward|backward)_layer$/.exec(attribute)?.[1];
  const own = way === "backward" ? (backward ?? inner) : inner;
  const name = own && nameOf(own);
  if (way === undefined || name === undefined) return undefined;
  // Bidirectional puts the way before the name, unless that says it already.
  const plain = name.replace(/^(forward|backward)_/, "");
  return { ...own, config: { ...(own?.config as object), name: `${way}_${plain}` } };
}

/** What the layer under this key is called. */
export function nameFor(layer: Declared | undefined, key: string): string {
  return (layer && nameOf(layer)) ?? INNER_NAMES[key] ?? key;
}

function nameOf({ config }: Declared): string | undefined {
  const name = (config as { name?: unknown } | undefined)?.name;
  return typeof name === "string" ? name : undefined;
}

/** As Keras turns a class name into that of a group. */
function snakeCase(name: string): string {
  return name
    .replace(/\W+/g, "")
    .replace(/(.)([A-Z][a-z]+)/g, "$1_$2")
    .replace(/([a-z])([A-Z])/g, "$1_$2")
    .toLowerCase();
}
