/**
 * Metrics for services: `metricsMixin` gives `this.metrics`, the sink that lib code writes to, backed by the
 * broker's metric registry. Every metric of lib/protocol/metrics.ts is registered once per broker. Histograms
 * have buckets, not quantiles: buckets cost a few additions, and can be added up over nodes.
 */

import type { ServiceBroker, ServiceSchema } from "moleculer";
import { METRICS, type MetricName, type MetricSink } from "../lib/protocol/metrics.ts";
import { COUNT_BUCKETS, LabelledBuckets, printFrom, TIME_BUCKETS_MS } from "./buckets.ts";

export type WithMetrics = { metrics: MetricSink };

/** `this.metrics` from `created` on. */
export const metricsMixin: Partial<ServiceSchema> = {
  created(this: { broker: ServiceBroker; metrics?: MetricSink }) {
    this.metrics = metricSinkOf(this.broker);
  },
};

const SINKS = new WeakMap<ServiceBroker, MetricSink>();

/** The broker's registry as a sink, the same for all of its services. */
export function metricSinkOf(broker: ServiceBroker): MetricSink {
  const known = SINKS.get(broker);
  if (known) return known;
  const { metrics } = broker;
  const histograms = registerAll(broker);
  const sink: MetricSink = {
    increment: (name: MetricName, labels, value = 1) => metrics.increment(name, labels, value),
    set: (name: MetricName, value, labels) => metrics.set(name, value, labels),
    observe: (name, value, labels, times) => histograms.get(name)?.observe(value, labels, times),
  };
  SINKS.set(broker, sink);
  return sink;
}

/** Registers every metric of the protocol. */
function registerAll(broker: ServiceBroker): Map<MetricName, LabelledBuckets> {
  const { metrics } = broker;
  const histograms = new Map<MetricName, LabelledBuckets>();
  for (const [key, { type, labels, description, ...rest }] of Object.entries(METRICS)) {
    const name = key as MetricName;
    const unit = "unit" in rest ? rest.unit : undefined;
    const common = { name, labelNames: [...labels], description, ...(unit ? { unit } : {}) };
    if (type === "histogram") {
      const bounds = unit === "ms" ? TIME_BUCKETS_MS : COUNT_BUCKETS;
      const histogram = new LabelledBuckets(labels, bounds);
      metrics.register({ ...common, type, buckets: [...bounds] });
      printFrom(broker, name, () => histogram.read());
      histograms.set(name, histogram);
    } else if (type === "gauge") metrics.register({ ...common, type });
    else metrics.register({ ...common, type });
  }
  return histograms;
}
