"""Trains the CNN for the Flask sample on a slice of MNIST (a few seconds) and saves it as a Keras file; then says `saved`.

usage: flask_model.py MNIST_DIRECTORY OUTPUT.keras
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
from keras import layers

from contestant import training_set

images, labels = training_set(sys.argv[1])
model = keras.Sequential(
    [
        layers.Input((28, 28, 1)),
        layers.Conv2D(32, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(images[:20_000, ..., None] / 255, labels[:20_000], batch_size=32, epochs=1, verbose=2)
model.save(sys.argv[2])
print("saved", flush=True)
