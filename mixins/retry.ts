/**
 * Attempts after the first, for actions that may be repeated: which failures are worth one, which node gets it, and
 * how loudly it is told. Moleculer retries; these are the parts of it that are ours.
 */

import * as moleculer from "moleculer";
import { type Context, type Middleware, type ServiceBroker, Strategies } from "moleculer";

/** Moleculer exports its middlewares; its typings do not. */
const { Middlewares } = moleculer as unknown as { Middlewares: { Retry(broker: ServiceBroker): Middleware } };

type Endpoint = Parameters<Strategies.RoundRobin["select"]>[0][number];
/** What Moleculer's retries leave in the context of the next attempt. */
type Attempt = { _retryAttempts?: number | null; nodeID?: string | null };

/** Deadlines that passed, and queues that are full: a second attempt would only add to the load. */
const HOPELESS = new Set(["REQUEST_TIMEOUT", "REQUEST_SKIPPED", "DEADLINE_EXCEEDED", "QUEUE_FULL"]);

/** Whether the same call may succeed on another node, or on this one in a moment. */
export function isWorthRetrying(error: unknown): boolean {
  const { retryable, type, data } = (error ?? {}) as { retryable?: unknown; type?: unknown; data?: unknown };
  // Nobody offers the action; or, where a node is named, that one no longer does: it is stopping, others go on.
  if (type === "SERVICE_NOT_FOUND") return (data as { nodeID?: unknown } | undefined)?.nodeID != null;
  return retryable === true && !HOPELESS.has(String(type));
}

/**
 * This process before others, and those in turn; but a further attempt goes to another node than the one that has just
 * failed: one that has not loaded the new version yet, or is stopping, is hardly ever the only one.
 */
export class ElsewhereStrategy extends Strategies.RoundRobin {
  override select(endpoints: Endpoint[], ctx?: Context): Endpoint {
    const { _retryAttempts: attempts, nodeID } = (ctx ?? {}) as Attempt;
    const own = attempts ? undefined : endpoints.find(({ local }) => local);
    if (own) return own;
    const others = attempts ? endpoints.filter(({ id }) => id !== nodeID) : [];
    return super.select(others.length > 0 ? others : endpoints);
  }
}

/** Moleculer's retries, which warn of each one: a call that comes right by itself concerns only who debugs. */
export function quietRetryMiddleware(broker: ServiceBroker): Middleware {
  const { logger } = broker;
  const quiet = Object.assign(Object.create(logger) as typeof logger, { warn: logger.debug });
  return Middlewares.Retry(Object.assign(Object.create(broker) as ServiceBroker, { logger: quiet }));
}
