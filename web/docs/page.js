/**
 * The page at /docs: lists the operations of openapi.json, shows what they take and give, and sends requests. Needs
 * nothing but the document; all text goes in as text, never as markup.
 */

const METHODS = ["get", "post", "put", "delete"];

/** An element with properties and children. */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A schema as one reads types: `{ name: string, shape: integer[] }`. References stay names. */
function typeOf(schema, indent = "") {
  if (schema === undefined) return "bytes";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map((part) => typeOf(part, indent)).join(" | ");
  if (schema.type === "array") return arrayType(schema, indent);
  if (schema.type === "object") return objectType(schema, indent);
  return [schema.type ?? "anything", boundsOf(schema)].filter(Boolean).join(" ");
}

function arrayType({ items, prefixItems }, indent) {
  if (prefixItems) return `[${prefixItems.map((item) => typeOf(item, indent)).join(", ")}]`;
  const inner = typeOf(items ?? {}, indent);
  return /^(\w+$|\{)/.test(inner) ? `${inner}[]` : `(${inner})[]`;
}

function objectType({ properties = {}, required = [], additionalProperties }, indent) {
  const deeper = `${indent}  `;
  const fields = Object.entries(properties).map(([name, field]) => {
    const note = field.description ? `  // ${field.description}` : "";
    return `${deeper}${name}${required.includes(name) ? "" : "?"}: ${typeOf(field, deeper)}${note}`;
  });
  if (typeof additionalProperties === "object")
    fields.push(`${deeper}[name]: ${typeOf(additionalProperties, deeper)}`);
  else if (additionalProperties === true) fields.push(`${deeper}…`);
  return fields.length === 0 ? "{}" : `{\n${fields.join("\n")}\n${indent}}`;
}

function boundsOf({ minimum, maximum, pattern }) {
  if (pattern) return `like ${pattern}`;
  if (maximum === undefined) return minimum === undefined ? "" : `≥ ${minimum}`;
  return `${minimum ?? "…"} to ${maximum}`;
}

/** Names of all schemas that one reaches, itself included. */
function reached(schema, schemas, found = new Set()) {
  for (const [, name] of JSON.stringify(schema ?? {}).matchAll(/#\/components\/schemas\/(\w+)/g)) {
    if (found.has(name)) continue;
    found.add(name);
    reached(schemas[name], schemas, found);
  }
  return found;
}

function schemaBlock(title, content, schemas) {
  const parts = Object.entries(content ?? {}).flatMap(([type, { schema }]) => {
    const named = [...reached(schema, schemas)].map((name) => `${name} = ${typeOf(schemas[name])}`);
    return [make("p", {}, type), make("pre", {}, [typeOf(schema), ...named].join("\n\n"))];
  });
  return [make("h3", {}, title), ...parts];
}

/** A form that sends the request and shows the answer. */
function trial(method, path, { parameters = [], requestBody }) {
  const fields = parameters.map((parameter) => {
    const input = make("input", { placeholder: parameter.description });
    return { parameter, input, label: make("label", {}, `${parameter.name} `, input) };
  });
  const example = Object.values(requestBody?.content ?? {})[0]?.example;
  const body = make("textarea", { value: example === undefined ? "" : JSON.stringify(example, null, 2) });
  body.ariaLabel = "Request body";
  const output = make("pre", { hidden: true });
  const send = make("button", { type: "button" }, "Send");
  send.onclick = async () => {
    output.hidden = false;
    output.textContent = "…";
    try {
      output.textContent = await ask(method, path, fields, requestBody ? body.value : "");
    } catch (error) {
      output.textContent = String(error);
    }
  };
  const labels = fields.map(({ label }) => label);
  return [make("h3", {}, "Try it"), ...labels, ...(requestBody ? [body] : []), make("div", {}, send), output];
}

const SHOWN_CHARACTERS = 100_000;

async function ask(method, path, fields, body) {
  const query = new URLSearchParams();
  const headers = {};
  let filled = path;
  for (const { parameter, input } of fields) {
    const { value } = input;
    if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value !== "" && parameter.in === "query") query.set(parameter.name, value);
    else if (value !== "") headers[parameter.name] = value;
  }
  const url = new URL(`.${filled}${query.size > 0 ? `?${query}` : ""}`, document.baseURI);
  const response = await fetch(url, { method: method.toUpperCase(), headers, ...(body !== "" && { body }) });
  const text = await response.text();
  return `${response.status} ${response.statusText}\n\n${pretty(text).slice(0, SHOWN_CHARACTERS)}`;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function operationElement(method, path, operation, schemas) {
  const { summary = "", description, requestBody, responses } = operation;
  const panel = make("div", {});
  const element = make(
    "details",
    {},
    make(
      "summary",
      {},
      make("span", { className: `method ${method}` }, method.toUpperCase()),
      make("code", {}, path),
      make("span", { className: "summary" }, summary),
    ),
    panel,
  );
  element.dataset.words = `${method} ${path} ${summary}`.toLowerCase();
  // Filled when it is opened: there are many, and few are looked at.
  element.ontoggle = () => {
    if (!element.open || panel.childElementCount > 0) return;
    if (description) panel.append(make("p", {}, description));
    if (requestBody) panel.append(...schemaBlock("Request", requestBody.content, schemas));
    for (const [status, answer] of Object.entries(responses))
      if (status !== "default")
        panel.append(...schemaBlock(`${status}: ${answer.description}`, answer.content, schemas));
    panel.append(...trial(method, path, operation));
  };
  return element;
}

function show({ info, tags, paths, components }) {
  document.title = `${info.title} API`;
  document.querySelector("h1").textContent = `${info.title} ${info.version}`;
  document.querySelector("#about").textContent = info.description;
  const sections = tags.map(({ name, description }) => {
    const operations = Object.entries(paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method]?.tags?.includes(name)).map((method) =>
        operationElement(method, path, item[method], components.schemas),
      ),
    );
    return make("section", {}, make("h2", {}, name), make("p", {}, description), ...operations);
  });
  document.querySelector("#operations").replaceChildren(...sections);
  const find = document.querySelector("#find");
  find.oninput = () => {
    const words = find.value.toLowerCase().split(/\s+/);
    for (const element of document.querySelectorAll("details"))
      element.hidden = !words.every((word) => element.dataset.words.includes(word));
  };
}

fetch("openapi.json")
  .then((response) => response.json())
  .then(show)
  .catch((error) => {
    document.querySelector("#operations").textContent = `openapi.json could not be read: ${error}`;
  });
