/** The engine's WebAssembly, as far as it is used here: the types come with browsers' libraries only. */

type Engine = {
  Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  Instance: new (module: object, imports: object) => { exports: Readonly<Record<string, unknown>> };
  /** Sizes in pages of 64 KiB. */
  Memory: new (size: {
    initial: number;
    maximum: number;
  }) => { readonly buffer: ArrayBuffer };
};

export const { WebAssembly } = globalThis as unknown as { WebAssembly: Engine };
