/** The thread that reads training requests: what was asked for in, the specification or its refusal out. */

import { serveQuestions } from "../runtime/warm-thread.ts";
import { parseTrainingSpec } from "./training-spec.ts";

serveQuestions(parseTrainingSpec);
