/** Watches the broker's event loop: its worst delay in each interval becomes a gauge. Nothing heavy may run there. */

import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Middleware, ServiceBroker } from "moleculer";
import { metricSinkOf } from "./metrics.ts";

type IntervalHistogram = ReturnType<typeof monitorEventLoopDelay>;

const RESOLUTION_MS = 10;
const INTERVAL_MS = 5_000;

export function eventLoopMiddleware(): Middleware {
  let histogram: IntervalHistogram | undefined;
  let timer: NodeJS.Timeout | undefined;
  return {
    name: "EventLoop",
    created(broker: ServiceBroker) {
      if (!broker.isMetricsEnabled()) return;
      const metrics = metricSinkOf(broker);
      const watched = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
      watched.enable();
      histogram = watched;
      timer = setInterval(() => {
        metrics.set("moiety.eventloop.delay.max", worstDelayMs(watched));
        watched.reset();
      }, INTERVAL_MS);
      timer.unref();
    },
    async stopped() {
      clearInterval(timer);
      histogram?.disable();
    },
  };
}

/** The histogram measures from one tick of its timer to the next; what exceeds its resolution is delay. */
function worstDelayMs({ max, count }: IntervalHistogram): number {
  return count === 0 ? 0 : Math.max(0, max / 1e6 - RESOLUTION_MS);
}
