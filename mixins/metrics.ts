/**
 * Metrics for services: `metricsMixin` gives `this.metrics`, the sink that lib code writes to, backed by the
 * broker's metric registry. Every metric of lib/protocol/metrics.ts is registered once per broker. Histograms
 * have buckets, not quantiles: buckets cost a few additions, and can be added up over nodes.
 */

import type { ServiceBroker, ServiceSchema } from "moleculer";
import { METRICS, type MetricName, type MetricSink } from "../lib/protocol/metrics.ts";

/** Upper bounds of histogram buckets, by unit. Dense where predictions are, in ms; powers of two for counts. */
export const TIME_BUCKETS_MS = [
  0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000,
];
const COUNT_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

export type WithMetrics = { metrics: MetricSink };

/** `this.metrics` from `created` on. */
export const metricsMixin: Partial<ServiceSchema> = {
  created(this: { broker: ServiceBroker; metrics?: MetricSink }) {
    this.metrics = metricSinkOf(this.broker);
  },
};

/** The broker's registry as a sink. Registers every metric of the protocol, once per broker. */
export function metricSinkOf({ metrics }: ServiceBroker): MetricSink {
  for (const [name, { type, labels, description, ...rest }] of Object.entries(METRICS)) {
    if (metrics.hasMetric(name)) continue;
    const unit = "unit" in rest ? rest.unit : undefined;
    const common = { name, labelNames: [...labels], description, ...(unit ? { unit } : {}) };
    if (type === "histogram")
      metrics.register({ ...common, type, buckets: [...(unit === "ms" ? TIME_BUCKETS_MS : COUNT_BUCKETS)] });
    else if (type === "gauge") metrics.register({ ...common, type });
    else metrics.register({ ...common, type });
  }
  return {
    increment: (name: MetricName, labels, value = 1) => metrics.increment(name, labels, value),
    set: (name: MetricName, value, labels) => metrics.set(name, value, labels),
    observe: (name: MetricName, value, labels) => metrics.observe(name, value, labels),
  };
}
