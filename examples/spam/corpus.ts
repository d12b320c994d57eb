/**
 * SpamAssassin's public mail corpus as sequences of word numbers. A mail that says the same as one before it, in the
 * words a network would see, is left out, so that none is in both parts; a fifth of the others, drawn at random, is
 * for the test. The vocabulary is of the training mails: 0 stands for no word, 1 for any other word.
 */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { splitRows } from "../../lib/data/examples.ts";
import { writeDataset } from "../../lib/data/write-dataset.ts";
import { SPAM_ASSASSIN } from "../npm-data.ts";
import { npmPackage } from "../packages.ts";
import { wordsOf } from "./mail.ts";

const GROUPS = { "easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1 };
export const LABELS = ["ham", "spam"];

/** The networks' input: so many words of a mail, of so many. */
export const MAIL_WORDS = 256;
export const VOCABULARY_SIZE = 8000;

const TEST_SHARE = 0.2;
export const SEED = 7;
const OTHER_WORD = 1;

type Mail = { words: string[]; label: number };

/** `trained`: how many mails there are to train on. */
export type SpamFacts = { mails: number; duplicates: number; trained: number };

/** @param limit of mails that differ, drawn at random; all if undefined */
export async function prepareSpam(folder: string, limit?: number): Promise<SpamFacts> {
  const mails = await readMails();
  const distinct = [...new Map(mails.toReversed().map((mail) => [mail.words.join(" "), mail])).values()];
  const { train, validation: test } = splitRows(distinct.length, TEST_SHARE, SEED);
  const share = Math.min(1, (limit ?? distinct.length) / distinct.length);
  const part = (rows: Uint32Array) => Array.from(every(rows, share), (row) => distinct[row]!);
  const parts = { train: part(train), test: part(test) };
  const numbers = vocabularyOf(parts.train);
  const arrays = (of: Mail[]) => {
    const words = new Int32Array(of.length * MAIL_WORDS);
    for (const [i, mail] of of.entries())
      for (const [at, word] of mail.words.entries())
        words[i * MAIL_WORDS + at] = numbers.get(word) ?? OTHER_WORD;
    return {
      words: { datatype: "INT32" as const, shape: [of.length, MAIL_WORDS], data: words },
      kind: {
        datatype: "UINT8" as const,
        shape: [of.length],
        data: Uint8Array.from(of, ({ label }) => label),
      },
    };
  };
  const trained = arrays(parts.train);
  // Two mails may differ in words that have no number.
  const sequences = new Set(parts.train.map((mail) => sequenceOf(mail, numbers)));
  const unseen = parts.test.filter((mail) => !sequences.has(sequenceOf(mail, numbers)));
  const tested = arrays(unseen);
  await writeDataset(folder, {
    inputs: { words: { train: trained.words, test: tested.words } },
    targets: { kind: { train: trained.kind, test: tested.kind, labelNames: LABELS } },
  });
  return {
    mails: mails.length,
    duplicates: mails.length - distinct.length + parts.test.length - unseen.length,
    trained: parts.train.length,
  };
}

function sequenceOf({ words }: Mail, numbers: ReadonlyMap<string, number>): string {
  return words.map((word) => numbers.get(word) ?? OTHER_WORD).join();
}

/** In the order of groups and file names. */
async function readMails(): Promise<Mail[]> {
  const folder = join(await npmPackage(SPAM_ASSASSIN), "data");
  const mails: Mail[] = [];
  for (const [group, label] of Object.entries(GROUPS)) {
    const names = (await readdir(join(folder, group))).filter((name) => name.endsWith(".txt")).sort();
    for (const name of names) {
      const text = await readFile(join(folder, group, name), "latin1");
      mails.push({ words: wordsOf(text).slice(0, MAIL_WORDS), label });
    }
  }
  return mails;
}

/** A share of the rows, evenly. */
function every(rows: Uint32Array, share: number): Uint32Array {
  return rows.filter((_, i) => Math.floor((i + 1) * share) > Math.floor(i * share));
}

/** The commonest words, from number 2 on; those that are equally common in the order of the alphabet. */
function vocabularyOf(mails: readonly Mail[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { words } of mails) for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  const commonest = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
  return new Map(commonest.slice(0, VOCABULARY_SIZE - 2).map(([word], i) => [word, i + 2]));
}
