/**
 * The OpenAPI 3.1 description of the HTTP surface, made from the routes that are served and the table of what they take
 * and give. A route that the table does not know is described by its path alone; a test sees to it that there is none.
 */

import { pathTemplate, type Route } from "../http/exchange.ts";
import { BINARY_TYPE, type Content, JSON_TYPE, type RequestContent, type Tag } from "./operation.ts";
import { OPERATIONS } from "./operations.ts";
import { PATH_PARAMETERS } from "./path-parameters.ts";
import type { Schema } from "./schema.ts";
import { SCHEMAS } from "./schemas.ts";

export type OpenApiDocument = {
  openapi: "3.1.0";
  info: { title: string; version: string; description: string };
  servers: { url: string }[];
  tags: { name: Tag; description: string }[];
  paths: Record<string, Record<string, unknown>>;
  components: { schemas: Readonly<Record<string, Schema>>; responses: Record<string, unknown> };
};

const DESCRIPTION = `HEAD works beside every GET. Bodies are read as what the operation takes, whatever their
Content-Type says, plain or with Content-Encoding gzip or deflate; long answers leave so where Accept-Encoding asks. JSON
is nested at most 100 levels deep. X-Request-Id is echoed, or made. Where a later try may succeed, Retry-After says when.`;

const TAGS: Readonly<Record<Tag, string>> = {
  "Open Inference Protocol": "Version 2, with the extensions that the server's metadata list.",
  "TensorFlow Serving": "Its REST API, and KServe v1's. Paths match in either case.",
  Images: "Predictions for images by the simplest request there is.",
  Management: "Models, their versions and aliases; training jobs.",
  Operations: "Health of the process, and this description.",
};

/** @param server what it says it is */
export function openApiDocument(
  server: { name: string; version: string },
  routes: readonly Route[],
): OpenApiDocument {
  const paths: OpenApiDocument["paths"] = {};
  for (const route of routes) {
    const path = pathTemplate(route.path);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: describe(route.method, path) };
  }
  return {
    openapi: "3.1.0",
    info: { title: server.name, version: server.version, description: DESCRIPTION },
    servers: [{ url: "/" }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name: name as Tag, description })),
    paths,
    components: {
      schemas: SCHEMAS,
      responses: {
        Error: { description: "An error", content: contentOf({ $ref: "#/components/schemas/Error" }) },
      },
    },
  };
}

function describe(method: string, path: string): object {
  const operation = OPERATIONS[`${method} ${path}`];
  const parameters = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name: name!,
    in: "path",
    required: true,
    ...PATH_PARAMETERS[name!],
  }));
  const operationId = operationIdOf(method, path);
  if (!operation) return { operationId, parameters, responses: { default: ERROR } };
  const { tag, summary, description, query = [], headers = [], request, answers } = operation;
  return {
    operationId,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    parameters: [
      ...parameters,
      ...query.map((parameter) => ({ ...parameter, in: "query" })),
      ...headers.map((parameter) => ({ ...parameter, in: "header" })),
    ],
    ...(request && { requestBody: requestBody(request) }),
    responses: {
      ...Object.fromEntries(
        Object.entries(answers).map(([status, answer]) => [
          status,
          { description: answer.description, content: contentOf(answer.content) },
        ]),
      ),
      default: ERROR,
    },
  };
}

const ERROR = { $ref: "#/components/responses/Error" };

function requestBody({ content, required = true, example }: RequestContent): object {
  const byType = contentOf(content);
  if (example !== undefined) byType[JSON_TYPE] = { ...byType[JSON_TYPE], example };
  return { required, content: byType };
}

function contentOf(content: Content): Record<string, { schema?: Schema; example?: unknown }> {
  const byType =
    "byType" in content ? (content.byType as Readonly<Record<string, Schema>>) : { [JSON_TYPE]: content };
  return Object.fromEntries(
    Object.entries(byType).map(([type, schema]) => [
      type,
      type === BINARY_TYPE ? {} : { schema: schema as Schema },
    ]),
  );
}

/** `getV2ModelsModelReady`. */
function operationIdOf(method: string, path: string): string {
  const words = path.split(/\W+/).filter((word) => word !== "");
  return method.toLowerCase() + words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join("");
}
