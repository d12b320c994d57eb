"""Keras on TensorFlow: compiled graph mode inside `model.fit`, uint8 data in memory, scaling as part of the model.

Practices tried: feeding by fit's own in-memory adapter or by tf.data with prefetching; with and without XLA; one or
many steps per execution. Timed inside fit, from the end of its first execution to the end of its last, so that
what fit does around its steps is not counted.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf
from keras import layers

from contestant import BATCH, NET, serve, training_set

examples, labels = training_set()


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


class PositionEmbedding(layers.Layer):
    """One trained vector for each step."""

    def build(self, shape):
        self.embeddings = self.add_weight(shape=shape[1:], initializer="glorot_uniform", name="embeddings")

    def call(self, x):
        return x + self.embeddings


def block(x):
    """Post-norm self-attention and feed-forward."""
    attended = layers.MultiHeadAttention(4, 32)(x, x)
    x = layers.LayerNormalization(epsilon=1e-5)(x + attended)
    wide = layers.Dense(512, activation="relu")(x)
    return layers.LayerNormalization(epsilon=1e-5)(x + layers.Dense(128)(wide))


def hidden(x):
    """Everything between the scaled input and the scores."""
    if NET.startswith("cnn"):
        x = layers.Conv2D(32, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.Conv2D(64, 3, activation="relu")(x)
        return layers.Flatten()(layers.MaxPooling2D(2)(x))
    if NET == "mlp":
        return layers.Dense(512, activation="relu")(layers.Dense(512, activation="relu")(x))
    if NET == "vgg":
        for filters in (32, 64, 128):
            for _ in range(2):
                x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
            x = layers.MaxPooling2D(2)(x)
        return layers.Dense(320, activation="relu")(layers.Flatten()(x))
    if NET == "lstm":
        return layers.LSTM(128)(x)
    x = PositionEmbedding()(layers.Dense(128)(x))
    return layers.GlobalAveragePooling1D()(block(block(x)))


class Trainer:
    def __init__(self, feed, jit, steps_per_execution):
        x = keras.Input(examples.shape[1:], dtype="uint8")
        scores = layers.Dense(10, activation="softmax")(hidden(layers.Rescaling(1 / 255)(x)))
        self.model = keras.Model(x, scores)
        self.model.compile(
            optimizer="adam",
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=jit,
            steps_per_execution=steps_per_execution,
        )
        self.steps_per_execution = steps_per_execution
        in_memory = {"x": examples, "y": labels, "batch_size": BATCH}
        self.data = {"x": dataset()} if feed == "tf.data" else in_memory
        self.parameters = self.model.count_params()

    def fit(self, executions, callbacks=()):
        steps = executions * self.steps_per_execution
        return self.model.fit(
            **self.data, steps_per_epoch=steps, epochs=1, verbose=0, callbacks=list(callbacks)
        ).history

    def run(self, steps):
        # At least two executions, of which the first is not counted.
        clock = Clock()
        history = self.fit(max(2, -(-steps // self.steps_per_execution) + 1), [clock])
        return {"msPerStep": clock.ms_per_step(), "loss": history["loss"][0], "accuracy": history["accuracy"][0]}

    def first(self):
        self.fit(1)

    def train(self, steps):
        self.fit(steps // self.steps_per_execution)

    def accuracy(self, x, y):
        return self.model.evaluate(x, y, batch_size=256, verbose=0)[1]


def dataset():
    return (
        tf.data.Dataset.from_tensor_slices((examples, labels))
        .shuffle(10_000)
        .repeat()
        .batch(BATCH, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


serve(
    {
        f"{feed}, {'XLA' if jit else 'no XLA'}, {steps} step{'s' if steps > 1 else ''} per execution": (
            lambda feed=feed, jit=jit, steps=steps: Trainer(feed, jit, steps)
        )
        for feed in ("tf.data", "in-memory fit")
        for jit in (False, True)
        for steps in (16, 1)
    }
)
