/** The models there are: immutable versions, and aliases that move. */

import type { Context, Service, ServiceSchema } from "moleculer";
import { EnsembleRegistry } from "../lib/ensemble/ensemble-registry.ts";
import type { ActionParams } from "../lib/protocol/actions.ts";
import { ModelRegistry } from "../lib/registry/model-registry.ts";
import { FolderWatch } from "../lib/repository/folder-watch.ts";
import { broadcastOf, configOf } from "../mixins/config.ts";
import { storeMixin, type WithStore } from "../mixins/store.ts";
import {
  ALIAS_PARAMS,
  CONFIGURE_PARAMS,
  ENSEMBLE_PARAMS,
  LOADED_PARAMS,
  MODEL_PARAMS,
  NO_PARAMS,
  PROMOTE_PARAMS,
  PUBLISH_PARAMS,
  ROLL_BACK_PARAMS,
  ROLL_OUT_PARAMS,
  VERSION_PARAMS,
} from "./registry/params.ts";

type Registry = Service &
  WithStore & { registry: ModelRegistry; ensembles: EnsembleRegistry; folderWatch: FolderWatch | undefined };
type Schema = ServiceSchema<
  Record<string, unknown>,
  Record<string, unknown>,
  Record<string, unknown>,
  Registry
>;

/** Reading, and writes that give the same result when they are repeated. */
const IDEMPOTENT = { retryPolicy: { enabled: true, retries: 2, delay: 50 } };

export default {
  name: "registry",
  mixins: [storeMixin],

  actions: {
    list: {
      ...IDEMPOTENT,
      params: NO_PARAMS,
      handler(this: Registry) {
        return this.registry.list();
      },
    },
    get: {
      ...IDEMPOTENT,
      params: MODEL_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.get">>) {
        return this.registry.get(ctx.params.model);
      },
    },
    version: {
      ...IDEMPOTENT,
      params: VERSION_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.version">>) {
        return this.registry.version(ctx.params.model, ctx.params.version);
      },
    },
    publish: {
      params: PUBLISH_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.publish">>) {
        return this.registry.publish(ctx.params);
      },
    },
    publishEnsemble: {
      params: ENSEMBLE_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.publishEnsemble">>) {
        return this.ensembles.publish(ctx.params);
      },
    },
    ensemble: {
      ...IDEMPOTENT,
      params: VERSION_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.ensemble">>) {
        return this.ensembles.read(ctx.params.model, ctx.params.version);
      },
    },
    setAlias: {
      ...IDEMPOTENT,
      params: ALIAS_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.setAlias">>) {
        return this.registry.setAlias(ctx.params.model, ctx.params.alias, ctx.params.version);
      },
    },
    configure: {
      ...IDEMPOTENT,
      params: CONFIGURE_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.configure">>) {
        return this.registry.configure(ctx.params.model, ctx.params.configuration);
      },
    },
    folders: {
      params: NO_PARAMS,
      handler(this: Registry) {
        return this.folderWatch?.folders.report() ?? { settled: true, states: [] };
      },
    },
    setLoaded: {
      ...IDEMPOTENT,
      params: LOADED_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.setLoaded">>) {
        return this.registry.setLoaded(ctx.params.model, ctx.params.loaded);
      },
    },
    promote: {
      ...IDEMPOTENT,
      params: PROMOTE_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.promote">>) {
        return this.registry.promote(ctx.params.model, ctx.params.version);
      },
    },
    rollOut: {
      ...IDEMPOTENT,
      params: ROLL_OUT_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.rollOut">>) {
        return this.registry.rollOut(ctx.params.model, ctx.params.rollout);
      },
    },
    rollBack: {
      ...IDEMPOTENT,
      params: ROLL_BACK_PARAMS,
      handler(this: Registry, ctx: Context<ActionParams<"registry.rollBack">>) {
        return this.registry.rollBack(ctx.params.model, ctx.params);
      },
    },
  },

  events: {
    // Not before: who serves what is found hears of it only then.
    "$broker.started"(this: Registry) {
      this.folderWatch?.start();
    },
  },

  started(this: Registry) {
    const { modelRepository, store } = configOf(this.broker);
    const emit = broadcastOf(this.broker);
    this.registry = new ModelRegistry(this.store.records, this.store.artifacts, {
      onPublished: (fact) => emit("model.published", fact),
      onAliasMoved: (fact) => emit("model.aliasMoved", fact),
      onConfigured: (fact) => emit("model.configured", fact),
      onRolledOut: (fact) => emit("model.rolledOut", fact),
      onRolledBack: (fact) => emit("model.rolledBack", fact),
    });
    this.ensembles = new EnsembleRegistry(this.registry, this.store.artifacts);
    if (modelRepository.directories.length > 0)
      this.folderWatch = new FolderWatch({
        ...modelRepository,
        store,
        registry: this.registry,
        ensembles: this.ensembles,
        log: this.logger,
      });
    if (this.broker.started) this.folderWatch?.start();
  },

  async stopped(this: Registry) {
    await this.folderWatch?.stop();
  },
} satisfies Schema;
