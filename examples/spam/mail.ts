/**
 * An e-mail as words: who says it is from them, its subject, kind and program, and its body. What carried the mail
 * wrote the other headers; they tell by which way the corpus was gathered and are left out. Transfer encodings are
 * undone, HTML is read as text; links, numbers and the marks ! and $ are words too.
 */

/** Their words are marked with the header's name, so that they are others than those of the body. */
const HEADERS = ["From", "Subject", "Content-Type", "X-Mailer", "User-Agent"];
const LONGEST_BODY = 20_000;

const LINK = "xxlink";
const NUMBER = "xxnumber";
const WORD = /[a-z][a-z']{0,18}[a-z]|[!$]/g;
/** A line of an attachment. */
const ENCODED_LINE = /^[A-Za-z0-9+/=]{60,}$/gm;

export function wordsOf(mail: string): string[] {
  const end = /\r?\n\r?\n/.exec(mail);
  const head = (end ? mail.slice(0, end.index) : mail).replace(/\r?\n[ \t]+/g, " ");
  const raw = end ? mail.slice(end.index + end[0].length).slice(0, LONGEST_BODY) : "";
  const header = (name: string) => new RegExp(`^${name}:(.*)$`, "im").exec(head)?.[1] ?? "";
  const encoding = header("Content-Transfer-Encoding").trim().toLowerCase();
  const body = decoded(raw, encoding).replace(ENCODED_LINE, " ");
  const isHtml = /<html|<body|<table|<br>|<p>|<font/i.test(body);
  return [
    ...HEADERS.flatMap((name) =>
      words(name === "Content-Type" ? (header(name).split("boundary")[0] ?? "") : header(name)).map(
        (word) => `${name}:${word}`,
      ),
    ),
    isHtml ? "xxhtml" : "xxtext",
    ...words(isHtml ? textOf(body) : body.replace(/\S+@\S+/g, " ")),
  ];
}

function decoded(body: string, encoding: string): string {
  if (encoding === "base64") return Buffer.from(body, "base64").toString("latin1");
  // Parts of a mail name their encoding within the body.
  if (encoding !== "quoted-printable" && !/quoted-printable/i.test(body)) return body;
  return body
    .replace(/=\r?\n/g, "")
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function textOf(html: string): string {
  return html
    .replace(/<!--.*?-->/gs, "")
    .replace(/<(style|script)\b.*?<\/\1\s*>/gis, " ")
    .replace(/<a\s[^>]*href[^>]*>/gi, ` ${LINK} `)
    .replace(/<[^>]*>/g, " ")
    .replace(/&nbsp;?/gi, " ")
    .replace(/&[a-z]+;|&#\d+;/gi, " ");
}

function words(text: string): string[] {
  const marked = text
    .toLowerCase()
    .replace(/\b(?:https?:\/\/|www\.)\S+/g, ` ${LINK} `)
    .replace(/\d[\d.,]*/g, ` ${NUMBER} `);
  return marked.match(WORD) ?? [];
}
