"""The Flask + Keras sample that people start with: Flask's own server, `model.predict` for every request.

usage: flask_serve.py MODEL.keras PORT
"""

import sys

import numpy as np
from flask import Flask, jsonify, request
from keras.models import load_model

app = Flask(__name__)
model = load_model(sys.argv[1])


@app.route("/predict", methods=["POST"])
def predict():
    image = np.array(request.json["image"]).reshape(-1, 28, 28, 1) / 255
    prediction = model.predict(image)
    return jsonify(prediction=int(np.argmax(prediction)))


if __name__ == "__main__":
    app.run(port=int(sys.argv[2]))
