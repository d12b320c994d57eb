/** What a network is to start from instead of fresh weights, and what it did start from. */

/** Where weights come from; a version is a number or an alias until a job is accepted, then its number. */
export type WeightSource =
  | { model: string /** @default the one in production */; version?: number | string }
  | { /** Below the data set directory. */ file: string }
  | { /** Digest of a stored file. */ artifact: string };

/** Which layers of a network take theirs; a name stands for all layers that lie in it too. */
export type WeightChoice = {
  /** @default every layer that the file has */
  layers?: string[];
  /** Layers that begin afresh though the file has them. */
  skip?: string[];
  /** Whether layers that are to take their weights may be missing from the file. @default unless `layers` is given */
  allowMissing?: boolean;
};

/** What a network starts with instead of fresh weights. */
export type InitialWeightsSpec = WeightSource & WeightChoice;

/** What it did start with. */
export type InitialWeightsRecord = {
  source: WeightSource;
  /** Of the file's bytes. */
  digest: string;
  format: string;
  /** Layers that took their weights from it, and those that began afresh. */
  taken: string[];
  fresh: string[];
};
