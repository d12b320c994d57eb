/**
 * Triton's metrics beside our own, on every page that prints metrics. They are read from the statistics when the page
 * is, so that requests pay nothing for them.
 */

import type { ServiceBroker } from "moleculer";
import type { ModelStatistics } from "../lib/protocol/statistics.ts";
import { TRITON_METRICS } from "../lib/protocol/triton-metrics.ts";
import { printFrom } from "./buckets.ts";

/** @param read the statistics of every version that is loaded on this node */
export function offerTritonMetrics(broker: ServiceBroker, read: () => readonly ModelStatistics[]): void {
  for (const [name, { type, labels, description, read: readOf }] of Object.entries(TRITON_METRICS)) {
    const common = { name, labelNames: ["model", "version", ...labels], description };
    if (type === "gauge") broker.metrics.register({ ...common, type });
    else broker.metrics.register({ ...common, type });
    printFrom(broker, name, () =>
      read().flatMap((statistics) => {
        const { model, version } = statistics;
        return readOf(statistics).map(({ value, labels: more }) => ({
          labels: { model, version, ...more },
          value,
        }));
      }),
    );
  }
}
