/**
 * Spam or not, by a bidirectional LSTM over the first 256 words of a mail and the mean of what it says; steps without a
 * word are masked. ../spam/ says what a mail's words are and how the corpus is parted.
 */

import type { Example } from "../example.ts";
import { trainSpamClassifier } from "../spam/classifier.ts";
import network from "./network.json" with { type: "json" };

export default {
  title: "SpamAssassin mails: spam or not, by an LSTM",
  run: (session) => trainSpamClassifier(session, "spam-lstm", network, 0.003),
} satisfies Example;
