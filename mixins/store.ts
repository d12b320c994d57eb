/**
 * Gives a service the node's store as `this.store`, from before its own `started` until after its own `stopped`:
 * Moleculer starts mixins first and stops them last. A store that cannot be opened stops the start.
 */

import type { ServiceBroker, ServiceSchema } from "moleculer";
import { openStore } from "../lib/store/open-store.ts";
import type { Store } from "../lib/store/store.ts";
import { configOf } from "./config.ts";

export type WithStore = { store: Store };

type Owner = { broker: ServiceBroker; store?: Store };

export const storeMixin: Partial<ServiceSchema> = {
  async started(this: Owner) {
    this.store = await openStore(configOf(this.broker).store);
  },

  async stopped(this: Owner) {
    await this.store?.close();
  },
};
