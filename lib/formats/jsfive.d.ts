/** What Moiety uses of jsfive, which comes without types. */
declare module "jsfive" {
  export class Group {
    readonly attrs: Record<string, unknown>;
    readonly keys: string[];
    get(path: string): Group | Dataset | null;
  }
  export class File extends Group {
    constructor(bytes: ArrayBuffer, name: string);
  }
  export class Dataset {
    readonly shape: number[];
    readonly dtype: unknown;
    /** Row by row. */
    readonly value: ArrayLike<unknown>;
  }
}
