/**
 * Moleculer's metrics as Prometheus text, exposition format 0.0.4. Moleculer's own reporter opens a port for
 * itself and leaves `_sum` and `_count` out of histograms without quantiles; this one opens none (the gateway's
 * /metrics and mixins/metrics-page.ts serve its text) and prints whole histograms. Names are Moleculer's, with
 * dots and dashes as underscores.
 */

import { type MetricRegistry, MetricReporters, type ServiceBroker } from "moleculer";

/** One labelled value of a metric, as Moleculer's snapshots give it; which fields there are depends on its type. */
type Snapshot = {
  labels?: Record<string, unknown>;
  value?: unknown;
  rate?: number;
  count?: number;
  sum?: number;
  buckets?: Record<string, number>;
  quantiles?: Record<string, number | undefined>;
};

type Metric = {
  name: string;
  type: string;
  description?: string;
  unit?: string;
  snapshot(): Snapshot[];
};

export class PrometheusReporter extends MetricReporters.Prometheus {
  #defaultLabels: Record<string, unknown> = {};

  override init(registry: MetricRegistry): void {
    MetricReporters.Base.prototype.init.call(this, registry);
    this.#defaultLabels = { namespace: this.broker.namespace, nodeID: this.broker.nodeID };
  }

  override async stop(): Promise<void> {
    // Nothing was opened.
  }

  override generatePrometheusResponse(): string {
    const lines: string[] = [];
    for (const metric of this.registry.store.values() as Iterable<Metric>) {
      // Its labels change with every reading: one more time series each.
      if (metric.name.startsWith("os.datetime") || !this.matchMetricName(metric.name)) continue;
      const snapshots = metric.snapshot();
      if (snapshots.length > 0) this.#printMetric(metric, snapshots, lines);
    }
    return `${lines.join("\n")}\n`;
  }

  #printMetric(metric: Metric, snapshots: readonly Snapshot[], lines: string[]): void {
    const name = this.formatMetricName(metric.name).replace(/[.-]/g, "_");
    const help = metric.description ?? metric.name;
    lines.push(`# HELP ${name} ${escapeText(metric.unit ? `${help} (${metric.unit})` : help)}`);
    lines.push(`# TYPE ${name} ${metric.type === "info" ? "gauge" : metric.type}`);
    for (const snapshot of snapshots) {
      if (metric.type === "histogram") this.#printHistogram(name, snapshot, lines);
      else if (metric.type === "info")
        lines.push(`${name}${this.#labels(snapshot, { value: snapshot.value })} 1`);
      else lines.push(`${name}${this.#labels(snapshot)} ${printValue(snapshot.value)}`);
    }
    const rated = snapshots.filter(({ rate }) => rate !== undefined);
    if (rated.length === 0) return;
    lines.push(`# HELP ${name}_rate ${escapeText(help)}, per minute`, `# TYPE ${name}_rate gauge`);
    for (const snapshot of rated)
      lines.push(`${name}_rate${this.#labels(snapshot)} ${printValue(snapshot.rate)}`);
  }

  #printHistogram(name: string, snapshot: Snapshot, lines: string[]): void {
    for (const [bound, count] of Object.entries(snapshot.buckets ?? {}).sort(
      ([a], [b]) => Number(a) - Number(b),
    ))
      lines.push(`${name}_bucket${this.#labels(snapshot, { le: bound })} ${count}`);
    lines.push(`${name}_bucket${this.#labels(snapshot, { le: "+Inf" })} ${printValue(snapshot.count)}`);
    lines.push(`${name}_sum${this.#labels(snapshot)} ${printValue(snapshot.sum)}`);
    lines.push(`${name}_count${this.#labels(snapshot)} ${printValue(snapshot.count)}`);
  }

  #labels({ labels }: Snapshot, extra?: Record<string, unknown>): string {
    const all = Object.entries({ ...this.#defaultLabels, ...labels, ...extra });
    if (all.length === 0) return "";
    return `{${all.map(([name, value]) => `${this.formatLabelName(name)}="${escapeLabel(value)}"`).join(",")}}`;
  }
}

/** All metrics of a node as Prometheus text; empty when its metrics are off. */
export function metricsTextOf(broker: ServiceBroker): string {
  const reporters = broker.metrics.reporter ?? [];
  const reporter = reporters.find((candidate) => candidate instanceof PrometheusReporter);
  return reporter ? reporter.generatePrometheusResponse() : "";
}

function printValue(value: unknown): string {
  if (typeof value === "number") {
    if (value === Number.POSITIVE_INFINITY) return "+Inf";
    return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
  }
  return typeof value === "boolean" ? String(Number(value)) : "NaN";
}

function escapeText(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(value: unknown): string {
  return escapeText(String(value ?? "")).replaceAll('"', '\\"');
}
