/** What the parameters of paths are. */

import { integer, matching, type Schema, string } from "./schema.ts";

type PathParameter = { description: string; schema: Schema };

export const PATH_PARAMETERS: Readonly<Record<string, PathParameter>> = {
  model: { description: "Name of a model", schema: matching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/) },
  version: {
    description: "A version's number; where the protocol has no labels, an alias too",
    schema: { anyOf: [integer(1), matching(/^[a-z][a-z0-9-]{0,31}$/)] },
  },
  label: { description: "An alias", schema: matching(/^[a-z][a-z0-9-]{0,31}$/) },
  alias: { description: "An alias", schema: matching(/^[a-z][a-z0-9-]{0,31}$/) },
  id: { description: "A job's id", schema: string },
};
