/**
 * Opens the store a location names, from any thread or process. JetStream's client is loaded only where it is
 * used.
 */

import { openFileStore } from "./file-store.ts";
import type { Store, StoreLocation } from "./store.ts";

/** @throws {StoreUnavailableError} when the folder cannot be written or the server does not answer */
export async function openStore(location: StoreLocation): Promise<Store> {
  if (location.kind === "files") return openFileStore(location.directory);
  const { openJetStreamStore } = await import("./jetstream-store.ts");
  return openJetStreamStore(location.url, location.bucket);
}
