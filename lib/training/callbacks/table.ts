/** Every callback, by its Keras name. To add one: a file beside this one and an entry here. */

import { ConfigReader, kerasObject, lookUp } from "../../nn/config-reader.ts";
import type { Callback, CallbackDefinition } from "./callback.ts";
import { earlyStopping } from "./early-stopping.ts";
import { modelCheckpoint } from "./model-checkpoint.ts";
import { reduceLrOnPlateau } from "./reduce-lr-on-plateau.ts";
import { terminateOnNan } from "./terminate-on-nan.ts";

export const CALLBACKS: Readonly<Record<string, CallbackDefinition>> = {
  EarlyStopping: earlyStopping,
  ModelCheckpoint: modelCheckpoint,
  ReduceLROnPlateau: reduceLrOnPlateau,
  TerminateOnNaN: terminateOnNan,
};

/**
 * Reads `{class_name: "EarlyStopping", config: {…}}`; `where` names it in errors.
 * @throws {UnknownComponentError} {InvalidModelError}
 */
export function callbackOf(value: unknown, where: string): Callback {
  const object = kerasObject(value, where);
  const definition = lookUp(CALLBACKS, "callback", object.class_name);
  const config = new ConfigReader(where, object.config);
  const callback = definition(config);
  config.ignore("verbose");
  config.done();
  return callback;
}
