/**
 * Named random streams from one run seed: init, shuffle, split and dropout draw independently, so that adding a
 * draw to one changes nothing in the others. xoshiro128** (Blackman and Vigna, prng.di.unimi.it), seeded by
 * hashing seed and name (FNV-1a) through splitmix32. The state is four 32-bit words and can be saved.
 */

export type StreamState = readonly [number, number, number, number];

const rotate = (x: number, k: number): number => (x << k) | (x >>> (32 - k));

/** Bytes 0 and 1 for each of four bits, the lowest first. */
const FOURS = new Uint32Array(Uint8Array.from({ length: 64 }, (_, i) => ((i >> 2) >> (i & 3)) & 1).buffer);

export class RandomStream {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  constructor(state: StreamState) {
    [this.a, this.b, this.c, this.d] = state;
  }

  static named(seed: number, name: string): RandomStream {
    let hash = 0x811c9dc5;
    for (const character of `${seed}/${name}`) hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193);
    const next = (): number => {
      hash = (hash + 0x9e3779b9) | 0;
      let z = hash;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) | 0;
    };
    return new RandomStream([next(), next(), next(), next()]);
  }

  get state(): StreamState {
    return [this.a, this.b, this.c, this.d];
  }

  /** A uniform integer in [0, 2^32). */
  uint32(): number {
    const result = Math.imul(rotate(Math.imul(this.b, 5), 7), 9);
    const t = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= t;
    this.d = rotate(this.d, 11);
    return result >>> 0;
  }

  /** A uniform float in [0, 1) with 24 random bits: exact in float32. */
  uniform(): number {
    return (this.uint32() >>> 8) * 2 ** -24;
  }

  /** A uniform integer in [0, bound), without modulo bias. */
  below(bound: number): number {
    const limit = 2 ** 32 - (2 ** 32 % bound);
    let draw = this.uint32();
    while (draw >= limit) draw = this.uint32();
    return draw % bound;
  }

  /** A standard normal draw (Box and Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Fills with standard normal draws, two of each radius and angle; a last odd one is drawn alone. */
  fillNormal(target: Float32Array): void {
    let i = 0;
    for (; i + 1 < target.length; i += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
      const angle = 2 * Math.PI * this.uniform();
      target[i] = radius * Math.cos(angle);
      target[i + 1] = radius * Math.sin(angle);
    }
    if (i < target.length) target[i] = this.normal();
  }

  /**
   * Fills with ones and zeros, each a one with `probability`, exact to 2^-32. 32 elements are decided at once: every
   * word gives each of them one more binary digit of a number that is compared with the probability, until all differ
   * from it; some seven words are drawn where one for each element would be 32.
   */
  fillChosen(target: Uint8Array, probability: number): void {
    const limit = Math.round(probability * 2 ** 32);
    if (limit >= 2 ** 32) {
      target.fill(1);
      return;
    }
    const aligned = target.byteOffset % 4 === 0 ? target : new Uint8Array(target.length);
    const fours = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2);
    for (let start = 0; start < aligned.length; start += 32) {
      let chosen = 0;
      let undecided = -1;
      for (let digit = 31; digit >= 0 && undecided !== 0; digit--) {
        const word = this.uint32() | 0;
        if ((limit >>> digit) & 1) {
          chosen |= undecided & ~word;
          undecided &= word;
        } else undecided &= ~word;
      }
      const place = start >> 2;
      if (place + 8 <= fours.length)
        for (let i = 0; i < 8; i++) fours[place + i] = FOURS[(chosen >>> (4 * i)) & 15]!;
      else for (let i = start; i < aligned.length; i++) aligned[i] = (chosen >>> (i - start)) & 1;
    }
    if (aligned !== target) target.set(aligned);
  }

  /** Shuffles in place (Fisher and Yates). */
  shuffle(items: Uint32Array): void {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const kept = items[i]!;
      items[i] = items[j]!;
      items[j] = kept;
    }
  }
}
