/**
 * Balance of calls over nodes, where Moleculer asks for it: a strategy that chooses the node, and a middleware that
 * sees calls begin and end. Actions that say `balanced: true` go where an answer is expected soonest
 * (lib/balance/node-balancer.ts), all others to this process before others, and to those in turn.
 *
 * The mark travels with the service, the choice is the caller's: nodes with different releases understand each other,
 * which they would not if the action named a strategy that some of them do not have.
 */

import type { ActionHandler, ActionSchema, Context, Middleware, ServiceBroker, Strategies } from "moleculer";
import { NodeBalancer } from "../lib/balance/node-balancer.ts";
import { isTelling, questionOf } from "../lib/balance/question.ts";
import { errorType } from "../lib/errors.ts";
import { readNodeLoad } from "../lib/protocol/node-load.ts";
import { printFrom } from "./buckets.ts";
import { metricSinkOf } from "./metrics.ts";
import { ElsewhereStrategy } from "./retry.ts";

declare module "moleculer" {
  interface ActionSchema {
    /** Whether calls go to the node that is expected to answer soonest, or to that of their affinity key. */
    balanced?: boolean;
  }
}

type Endpoint = Parameters<Strategies.RoundRobin["select"]>[0][number];
/** What Moleculer's retries leave in the context of the next attempt. */
type Attempt = { _retryAttempts?: number | null; nodeID?: string | null };

const balancers = new WeakMap<ServiceBroker, NodeBalancer>();

/** The broker's balancer; one for all its actions. */
export function balancerOf(broker: ServiceBroker): NodeBalancer {
  let balancer = balancers.get(broker);
  if (!balancer) {
    balancer = new NodeBalancer({ now: () => performance.now(), random: Math.random });
    balancers.set(broker, balancer);
  }
  return balancer;
}

/** `preferLocal` must be off: it would hide the other nodes. */
export class BalanceStrategy extends ElsewhereStrategy {
  override select(endpoints: Endpoint[], ctx?: Context): Endpoint {
    const { action } = endpoints[0] as { action?: ActionSchema };
    if (action?.balanced !== true) return super.select(endpoints, ctx);
    const { _retryAttempts: attempts, nodeID } = (ctx ?? {}) as Attempt;
    const failed = attempts ? (nodeID ?? undefined) : undefined;
    return balancerOf(this.broker).choose(endpoints, questionOf(ctx?.params), failed);
  }
}

type Handler = (ctx: Context<unknown, Meta>) => Promise<unknown>;

/** Belongs between "Timeout", whose errors it must see, and "Retry", whose attempts it must see one by one. */
export function balanceMiddleware(): Middleware {
  const wrapped = (next: ActionHandler, action: ActionSchema, wrap: (handler: Handler) => Handler) =>
    action.balanced === true ? (wrap(next as Handler) as ActionHandler) : next;
  return {
    name: "Balance",
    created: printMetrics,
    localAction: (next: ActionHandler, action: ActionSchema) =>
      wrapped(
        next,
        action,
        (handler) => (ctx) =>
          ctx.nodeID === ctx.broker.nodeID ? sent(handler, ctx) : received(handler, ctx),
      ),
    remoteAction: (next: ActionHandler, action: ActionSchema) =>
      wrapped(next, action, (handler) => (ctx) => sent(handler, ctx)),
  };
}

/** In the metadata of an answer: what the node that gives it has to do now. */
const LOAD = "$load";
type Meta = { [LOAD]?: unknown };

/** A call that begins in this process. */
function sent(handler: Handler, ctx: Context<unknown, Meta>): Promise<unknown> {
  const balancer = balancerOf(ctx.broker);
  const nodeID = ctx.nodeID!;
  const call = balancer.began(nodeID, questionOf(ctx.params));
  const ended = (failure?: string, telling = true): void => {
    balancer.ended(call, failure, telling);
    const load = ctx.meta[LOAD];
    if (load === undefined) return;
    delete ctx.meta[LOAD];
    balancer.told(nodeID, readNodeLoad(load));
  };
  return handler(ctx).then(
    (answer) => {
      ended(undefined, isTelling(answer));
      return answer;
    },
    (error: unknown) => {
      ended(errorType(error));
      throw error;
    },
  );
}

/** A call that another node sent here: its answer tells what there is to do. */
function received(handler: Handler, ctx: Context<unknown, Meta>): Promise<unknown> {
  const tell = (): void => {
    const load = balancerOf(ctx.broker).ownLoad?.();
    if (load) ctx.meta[LOAD] = load;
  };
  return handler(ctx).finally(tell);
}

/** Printed from what the balancer knows when they are read: nodes that are gone are gone from the metrics too. */
function printMetrics(broker: ServiceBroker): void {
  metricSinkOf(broker);
  const balancer = balancerOf(broker);
  printFrom(broker, "moiety.balance.calls", () =>
    balancer
      .view()
      .flatMap(({ nodeID: node, outcomes }) =>
        [...outcomes].map(([outcome, value]) => ({ labels: { node, outcome }, value })),
      ),
  );
  printFrom(broker, "moiety.balance.expected", () =>
    balancer.view().map(({ nodeID: node, expectedMs: value }) => ({ labels: { node }, value })),
  );
  printFrom(broker, "moiety.balance.avoided", () =>
    balancer
      .view()
      .flatMap(({ nodeID: node, avoided: reason }) =>
        reason === undefined ? [] : [{ labels: { node, reason }, value: 1 }],
      ),
  );
}
