/**
 * The operators an ensemble's steps may be made of. To add one: a rule in the file of its kind, a row in
 * docs/reference.md, a case in operators.test.ts.
 */

import { arithmetic } from "./arithmetic.ts";
import { layout } from "./layout.ts";
import type { OperatorRule } from "./rule.ts";
import { scores } from "./scores.ts";

export const OPERATORS: Readonly<Record<string, OperatorRule>> = { ...layout, ...arithmetic, ...scores };
