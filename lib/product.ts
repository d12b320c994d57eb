/** Name and version of this software, for lineage and for what servers say of themselves. */

import packageJson from "../package.json" with { type: "json" };

export const PRODUCT = { name: packageJson.name, version: packageJson.version } as const;
