/**
 * What a batch of a model version costs, learnt from those that ran: `cost(rows) = perRowMs * rows + perBatchMs`. Sizes
 * are kept in bins, each a running mean that forgets, so that an outlier moves little and a change of the machine's
 * load is followed; the line is fitted through the bins. Nothing is allocated per batch.
 */

/** Share that a new sample has of its bin. */
const FORGET = 1 / 16;
/** A sample counts at most as so many times the mean of its bin: a pause of the process is no cost of the model. */
const OUTLIER = 4;
/** Bins whose last sample is older than so many batches say nothing of now: the load was another, and is in the cost. */
const STALE_BATCHES = 256;
/** A bin is trusted after so many samples. */
const TRUSTED_SAMPLES = 8;
/** What posting a batch costs besides, on the threads' way: not in the time of the run. */
const POSTING_MS = 0.05;
/** More rows in a batch pay while what they share is more than this part of what a row costs by itself. */
const WORTH_SHARING = 0.1;
/** The same, when more rows wait than a batch may have: then throughput counts. */
const WORTH_SHARING_BEHIND = 0.02;
/** Larger batches must cost so much more per row before they are avoided. */
const WORSE = 1.25;

type Bin = { rows: number; ms: number; samples: number; lastBatch: number };

export class BatchCost {
  /** By the logarithm of the rows, in halves of an octave. */
  readonly #bins: (Bin | undefined)[] = [];
  #batches = 0;
  #fittedAt = -1;
  #perRowMs = 0;
  #perBatchMs = 0;
  /** Sizes that are told apart. */
  #known = 0;

  ran(rows: number, ms: number): void {
    if (!(ms >= 0) || rows < 1) return;
    const at = binOf(rows);
    const bin = this.#bins[at];
    this.#batches++;
    if (!bin || this.#isStale(bin)) {
      this.#bins[at] = { rows, ms, samples: 1, lastBatch: this.#batches };
      return;
    }
    const share = Math.max(FORGET, 1 / ++bin.samples);
    bin.ms += share * (Math.min(ms, OUTLIER * bin.ms) - bin.ms);
    bin.rows += share * (rows - bin.rows);
    bin.lastBatch = this.#batches;
  }

  /** Whether anything is known. */
  get isKnown(): boolean {
    return this.#batches > 0;
  }

  /** Of one more row. */
  get perRowMs(): number {
    this.#fit();
    return this.#perRowMs;
  }

  /** Of a batch, however many its rows, with its posting: what requests that share one save. */
  get perBatchMs(): number {
    this.#fit();
    return this.#perBatchMs + POSTING_MS;
  }

  /** Expected time of a batch; 0 while nothing is known. */
  of(rows: number): number {
    this.#fit();
    return this.#perRowMs * rows + this.#perBatchMs;
  }

  /**
   * So many rows in a batch that more would hardly make them cheaper, while all of them wait for the last one's answer;
   * Infinity while only one size is known.
   * @param isBehind whether more rows wait than a batch may have
   */
  enoughRows(isBehind: boolean): number {
    this.#fit();
    if (this.#known < 2) return Number.POSITIVE_INFINITY;
    const worth = isBehind ? WORTH_SHARING_BEHIND : WORTH_SHARING;
    return Math.ceil((this.#perBatchMs + POSTING_MS) / (worth * this.#perRowMs));
  }

  /**
   * The most rows that pay, at most `most`: beyond them a row costs more than in a smaller batch (caches overflow).
   * Sizes that were not seen for long are tried again.
   */
  bestRows(most: number): number {
    let best: Bin | undefined;
    for (const bin of this.#bins) {
      if (!bin || this.#isStale(bin) || bin.samples < TRUSTED_SAMPLES) continue;
      if (!best || bin.ms / bin.rows <= best.ms / best.rows) best = bin;
      else if (bin.ms / bin.rows > (WORSE * best.ms) / best.rows)
        return Math.min(most, topOf(binOf(best.rows)));
    }
    return most;
  }

  #isStale(bin: Bin): boolean {
    return this.#batches - bin.lastBatch > STALE_BATCHES;
  }

  /** Least squares through the bins, weighed by how well each is known; never a negative share. */
  #fit(): void {
    // A sixteenth of a batch's weight cannot move the line far.
    if (this.#fittedAt >= 0 && this.#batches - this.#fittedAt < Math.min(16, this.#fittedAt)) return;
    this.#fittedAt = this.#batches;
    let [w, x, y, xx, xy] = [0, 0, 0, 0, 0];
    this.#known = 0;
    for (const bin of this.#bins) {
      if (!bin || this.#isStale(bin)) continue;
      // Relative errors are alike, so small batches say more of what a batch costs by itself.
      const weight = Math.min(bin.samples, 1 / FORGET) / (bin.ms * bin.ms + 1e-9);
      this.#known++;
      w += weight;
      x += weight * bin.rows;
      y += weight * bin.ms;
      xx += weight * bin.rows * bin.rows;
      xy += weight * bin.rows * bin.ms;
    }
    if (w === 0) return;
    const spread = w * xx - x * x;
    // Of one size only, nobody can say what is shared: all of it is taken to be the rows'.
    const slope = spread > 1e-9 * w * xx ? (w * xy - x * y) / spread : y / x;
    this.#perRowMs = Math.max(0, Math.min(slope, y / x));
    this.#perBatchMs = Math.max(0, (y - this.#perRowMs * x) / w);
  }
}

function binOf(rows: number): number {
  return Math.round(2 * Math.log2(rows));
}

/** The most rows of a bin. */
function topOf(bin: number): number {
  return Math.max(1, Math.floor(2 ** ((bin + 0.5) / 2)));
}
