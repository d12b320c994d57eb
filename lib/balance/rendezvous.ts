/**
 * Rendezvous hashing (Thaler and Ravishankar, 1998): every caller finds the same node for a key without asking
 * anybody. Each node has a score for the key, and the highest wins, so when a node goes only its keys move, evenly to
 * the others, and they move back when it returns.
 */

import { hash } from "node:crypto";

/** A node's name costs its hash once. Names that are gone are forgotten with the rest when there are too many. */
const MAX_REMEMBERED = 4_096;

export class Rendezvous {
  readonly #nodes = new Map<string, number>();

  /** The key's node among `nodes`, which are not empty; their order does not matter. */
  choose<N extends { readonly id: string }>(key: string, nodes: readonly N[]): N {
    const hashed = wordOf(key);
    let [best, bestScore] = [nodes[0]!, -1];
    for (const node of nodes) {
      const score = mixed(hashed ^ this.#hashOf(node.id));
      if (score < bestScore || (score === bestScore && node.id > best.id)) continue;
      best = node;
      bestScore = score;
    }
    return best;
  }

  #hashOf(nodeID: string): number {
    const known = this.#nodes.get(nodeID);
    if (known !== undefined) return known;
    if (this.#nodes.size >= MAX_REMEMBERED) this.#nodes.clear();
    const hashed = wordOf(nodeID);
    this.#nodes.set(nodeID, hashed);
    return hashed;
  }
}

function wordOf(text: string): number {
  return hash("sha256", text, "buffer").readInt32LE(0);
}

/** The last step of MurmurHash3, which lets every bit of its input change every bit of its result. */
function mixed(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
