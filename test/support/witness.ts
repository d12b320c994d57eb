/**
 * TensorFlow.js on its plain JavaScript backend, with its gradients: the outside witness of numeric tests.
 *
 * The package's CommonJS bundle leaves the gradients out; they come from its ES modules, whose imports lack file
 * endings, which a resolve hook for this one package adds. Both share one registry of kernels and gradients.
 */

import { registerHooks } from "node:module";

registerHooks({
  resolve(specifier, context, next) {
    const bare =
      specifier.startsWith(".") &&
      !specifier.endsWith(".js") &&
      context.parentURL?.includes("/@tensorflow/tfjs-core/dist/");
    return next(bare ? `${specifier}.js` : specifier, context);
  },
});

const tf = await import("@tensorflow/tfjs-core");
// Only while the backend starts: it would print advice to install another one.
tf.env().set("IS_TEST", true);
await import("@tensorflow/tfjs-backend-cpu");
await import("@tensorflow/tfjs-core/dist/register_all_gradients.js");
await tf.setBackend("cpu");
await tf.ready();
tf.env().set("IS_TEST", false);

export { tf };
