/** The store as two JetStream buckets of one NATS server or cluster: `<bucket>-artifacts`, `<bucket>-records`. */

import { JetStreamArtifactStore } from "./jetstream-artifacts.ts";
import { JetStreamLink } from "./jetstream-link.ts";
import { JetStreamKeyValueStore } from "./jetstream-records.ts";
import type { Store } from "./store.ts";

/** @throws {StoreUnavailableError} naming the server and what is wrong with it */
export async function openJetStreamStore(url: string, bucket: string): Promise<Store> {
  const link = await JetStreamLink.open(url);
  try {
    return {
      artifacts: await JetStreamArtifactStore.open(link, `${bucket}-artifacts`),
      records: await JetStreamKeyValueStore.open(link, `${bucket}-records`),
      close: () => link.close(),
    };
  } catch (error) {
    await link.close();
    throw error;
  }
}
