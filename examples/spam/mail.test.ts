/** What of an e-mail is a word. */

import { wordsOf } from "./mail.ts";

const mail = (head: string, body: string) => `${head}\n\n${body}`;

describe("the words of a mail", () => {
  test("are those of some headers, marked with their name, and of the body", () => {
    const text = mail(
      "Received: from relay.example by mx\nFrom: Ann <ann@example.com>\nSubject: Lunch\n today?\nTo: bob@example.com",
      "Hi Bob, see http://example.com/a?b=1 at 12.30!",
    );
    expect(wordsOf(text)).toEqual(
      ["From:ann", "From:ann", "From:example", "From:com", "Subject:lunch", "Subject:today"].concat([
        "xxtext",
        "hi",
        "bob",
        "see",
        "xxlink",
        "at",
        "xxnumber",
        "!",
      ]),
    );
  });

  test("of HTML are its text and its links, without tags, scripts, styles and comments", () => {
    const html = `<HTML><style>b {x}</style><!-- no --><script>var y</script><p>Only <b>$5</b>,&nbsp;<a href="http://x.y">click</a></p>`;
    expect(wordsOf(mail("Subject: s", html))).toEqual(["xxhtml", "only", "$", "xxnumber", "xxlink", "click"]);
  });

  test("are read out of what transfer encodings make of them", () => {
    expect(wordsOf(mail("Content-Transfer-Encoding: quoted-printable", "a long=\n er=20word=3D=\n"))).toEqual(
      ["xxtext", "long", "er", "word"],
    );
    const encoded = Buffer.from("free money").toString("base64");
    expect(wordsOf(mail("Content-Transfer-Encoding: base64", encoded))).toEqual(["xxtext", "free", "money"]);
    expect(wordsOf(mail("Subject: attached", `see below\n${"QUJD".repeat(18)}\n`))).toEqual([
      "Subject:attached",
      "xxtext",
      "see",
      "below",
    ]);
  });

  test("are none of what is not there", () => {
    expect(wordsOf("")).toEqual(["xxtext"]);
    expect(wordsOf("Subject: alone")).toEqual(["Subject:alone", "xxtext"]);
  });
});
