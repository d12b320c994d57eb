/** What a node says of the model folders it watches. */

/** A version, or without one a model or folder, that is being taken in or cannot be. */
export type FolderState = {
  /** Empty: a folder of models, named in the reason. */
  model: string;
  /** Digits; empty: the model as such. */
  version: string;
  state: "importing" | "failed";
  reason: string;
};

export type FolderReport = {
  /** Whether all that lay there when the node started has been published, a moment ago at least, or refused. */
  settled: boolean;
  /** What is wrong, or not taken in yet. */
  states: FolderState[];
};
