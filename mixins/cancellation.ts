/**
 * Calls whose caller may stop waiting. In one process the caller's `signal` option reaches the action as it is; between
 * nodes nothing but data travels, so the caller's node sends word, once, to the node that has the call: an action that
 * names another in `cancelledBy` is cancelled by calling that with the id of the call. Word that comes too late, or is
 * lost, changes nothing: the work then ends at its deadline.
 */

import type { ActionHandler, ActionSchema, Context, Middleware, ServiceBroker } from "moleculer";

/** Of the word, not of the call. */
const TIMEOUT_MS = 2_000;

declare module "moleculer" {
  interface ActionSchema {
    /** The action that cancels calls of this one: it takes `{ call }`, the call's id. */
    cancelledBy?: string;
  }
}

type SignalOptions = { signal?: unknown };

/** The caller's side. */
export function cancellationMiddleware(): Middleware {
  let broker: ServiceBroker;
  return {
    name: "Cancellation",
    created(created) {
      broker = created;
    },
    remoteAction(next: ActionHandler, action: ActionSchema): ActionHandler {
      const { cancelledBy } = action;
      if (cancelledBy === undefined) return next;
      return (ctx: Context) => {
        const signal = callerSignal(ctx);
        const call = (next as (ctx: Context) => Promise<unknown>)(ctx);
        if (!signal) return call;
        const tell = (): void => {
          const options = { nodeID: ctx.nodeID!, timeout: TIMEOUT_MS };
          broker.call(cancelledBy, { call: ctx.id }, options).catch(() => {});
        };
        signal.addEventListener("abort", tell, { once: true });
        return call.finally(() => signal.removeEventListener("abort", tell));
      };
    },
  };
}

/** The side of the node that does the work: its calls from other nodes, by who called and by the call's id. */
export class CancellableCalls {
  readonly #running = new Map<string, AbortController>();

  /** Does what was called for; the signal aborts when the caller, here or on another node, stops waiting. */
  run<T>(ctx: Context, work: (signal: AbortSignal | undefined) => Promise<T>): Promise<T> {
    if (ctx.nodeID === null || ctx.nodeID === ctx.broker.nodeID) return work(callerSignal(ctx));
    const key = keyOf(ctx.nodeID, ctx.id);
    const controller = new AbortController();
    this.#running.set(key, controller);
    return work(controller.signal).finally(() => this.#running.delete(key));
  }

  /** Only the node that called can cancel. What has ended already is let be. */
  cancel(nodeID: string | null, call: string): void {
    if (nodeID !== null) this.#running.get(keyOf(nodeID, call))?.abort();
  }
}

function callerSignal({ options }: Context): AbortSignal | undefined {
  const { signal } = options as SignalOptions;
  return signal instanceof AbortSignal ? signal : undefined;
}

function keyOf(nodeID: string, call: string): string {
  return `${nodeID}|${call}`;
}
