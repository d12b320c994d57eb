/** What every format of data set folders gives: its examples part by part, once their files were looked through. */

import type { Part } from "./declaration.ts";
import type { Examples } from "./examples.ts";

export type OpenedDataset = {
  /** sha256 over the files of the opened parts, in a fixed order. */
  digest: string;
  /** One of the parts that were opened. */
  examples(part: Part): Examples;
  /** Closes the files. */
  close(): Promise<void>;
};
