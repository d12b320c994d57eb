/**
 * The other nodes that offer predictions, for steps of ensembles whose models are not on this one. Asked is the node
 * that is expected to answer soonest; one that has not the model either, or is stopping, or gone, leaves it to the next.
 */

import type { ServiceBroker } from "moleculer";
import { questionOf } from "../../lib/balance/question.ts";
import { DeadlineExceededError, errorType } from "../../lib/errors.ts";
import type { PredictResponse } from "../../lib/protocol/inference.ts";
import type { OtherNodes } from "../../lib/serving/step-models.ts";
import { balancerOf } from "../../mixins/balance.ts";
import { callOf } from "../../mixins/config.ts";
import { isWorthRetrying } from "../../mixins/retry.ts";

/** Longer than any prediction may take. */
const MAX_TIMEOUT_MS = 3_600_000;
const READY_TIMEOUT_MS = 1_000;
/** What a node answers that has not the model. */
const ELSEWHERE = new Set(["MODEL_NOT_FOUND", "MODEL_VERSION_NOT_FOUND", "MODEL_NOT_READY"]);

export function otherNodesOf(broker: ServiceBroker): OtherNodes {
  const call = callOf(broker);
  const others = () =>
    (broker.registry.getActionEndpoints("inference.predict")?.endpoints ?? [])
      .filter(({ isAvailable, node }) => isAvailable && !node.local)
      .map(({ node }) => ({ id: node.id, local: false }));
  return {
    predict(request, { deadlineMs, signal }) {
      const nodes = others();
      if (nodes.length === 0) return undefined;
      const expiresAt = performance.now() + deadlineMs;
      const ask = async (candidates: typeof nodes): Promise<PredictResponse> => {
        const { id } = balancerOf(broker).choose(candidates, questionOf(request));
        const timeout = Math.min(expiresAt - performance.now(), MAX_TIMEOUT_MS);
        if (timeout <= 0) throw new DeadlineExceededError(`Model '${request.model}'`, deadlineMs);
        try {
          return await call("inference.predict", request, { nodeID: id, timeout, signal, retries: 0 });
        } catch (error) {
          const left = candidates.filter((node) => node.id !== id);
          const lacking = ELSEWHERE.has(errorType(error)) || isWorthRetrying(error);
          if (left.length === 0 || signal.aborted || !lacking) throw error;
          return ask(left);
        }
      };
      return ask(nodes);
    },

    async serve(model, version) {
      const reference = { model, ...(version !== undefined && { version }) };
      const options = { timeout: READY_TIMEOUT_MS, retries: 0 };
      const asked = others().map(({ id }) =>
        call("inference.metadata", reference, { ...options, nodeID: id }),
      );
      return Promise.any(asked).then(
        () => true,
        () => false,
      );
    },
  };
}
