"""Keras on TensorFlow: compiled graph mode inside `model.fit`, uint8 data in memory, scaling as part of the model.

Practices tried: feeding by fit's own in-memory adapter or by tf.data with prefetching; with and without XLA; one or
many steps per execution. Timed inside fit, from the end of its first execution to the end of its last, so that
what fit does around its steps is not counted.

usage: keras_train.py MNIST_DIRECTORY CALIBRATION_STEPS
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf
from keras import layers

from contestant import BATCH, serve, training_set

images, labels = training_set(sys.argv[1])
images = images[..., None]


class Clock(keras.callbacks.Callback):
    """When the first and the last execution ended, and how many steps lie between them."""

    def on_train_begin(self, logs=None):
        self.first = None

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if self.first is None:
            self.first = (now, batch)
        self.last = (now, batch)

    def ms_per_step(self):
        (start, from_step), (end, to_step) = self.first, self.last
        return (end - start) * 1000 / (to_step - from_step)


def model(jit, steps_per_execution):
    network = keras.Sequential(
        [
            layers.Input((28, 28, 1), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(
        optimizer="adam",
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=jit,
        steps_per_execution=steps_per_execution,
    )
    return network


def dataset():
    return (
        tf.data.Dataset.from_tensor_slices((images, labels))
        .shuffle(10_000)
        .repeat()
        .batch(BATCH, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def practice(feed, jit, steps_per_execution):
    def make():
        network = model(jit, steps_per_execution)
        data = {"x": dataset()} if feed == "tf.data" else {"x": images, "y": labels, "batch_size": BATCH}

        def run(steps):
            # At least two executions, of which the first is not counted.
            executions = max(2, -(-steps // steps_per_execution) + 1)
            clock = Clock()
            history = network.fit(
                **data,
                steps_per_epoch=executions * steps_per_execution,
                epochs=1,
                verbose=0,
                callbacks=[clock],
            ).history
            return {
                "msPerStep": clock.ms_per_step(),
                "loss": history["loss"][0],
                "accuracy": history["accuracy"][0],
            }

        return run

    return make


practices = {
    f"{feed}, {'XLA' if jit else 'no XLA'}, {steps} step{'s' if steps > 1 else ''} per execution": practice(
        feed, jit, steps
    )
    for feed in ("tf.data", "in-memory fit")
    for jit in (False, True)
    for steps in (16, 1)
}
serve(practices, int(sys.argv[2]))
