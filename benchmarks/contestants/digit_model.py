"""The served ONNX model for contestants in Python: images in, digits out, one thread for each run.

Environment: MODEL, the ONNX file.
"""

import os

import numpy as np
import onnxruntime


class DigitModel:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        model_input = self.session.get_inputs()[0]
        self.name = model_input.name
        self.dtype = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}[model_input.type]
        self.shape = model_input.shape[1:]

    def digits(self, images):
        """Of images, each 784 pixels 0..255, as integers."""
        batch = np.asarray(images, dtype=self.dtype).reshape(-1, *self.shape)
        return self.session.run(None, {self.name: batch})[0].argmax(axis=1).tolist()
