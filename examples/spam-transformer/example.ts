/**
 * Spam or not, by one Transformer block over the first 256 words of a mail, with trained positions; steps without a
 * word are masked. ../spam/ says what a mail's words are and how the corpus is parted.
 */

import type { Example } from "../example.ts";
import { trainSpamClassifier } from "../spam/classifier.ts";
import network from "./network.json" with { type: "json" };

export default {
  title: "SpamAssassin mails: spam or not, by a Transformer",
  run: (session) => trainSpamClassifier(session, "spam-transformer", network, 0.002),
} satisfies Example;
