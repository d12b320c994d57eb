"""A model for MLServer: onnxruntime in a custom runtime, as its documentation shows for libraries it does not know.

MLServer asks for the protocol's tensors; adaptive batching and the number of workers are in the settings that
servers.ts writes. Environment: MODEL, the ONNX file.
"""

import numpy as np
from digit_model import DigitModel
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Digits(MLModel):
    async def load(self) -> bool:
        self.digit_model = DigitModel()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        images = NumpyCodec.decode_input(payload.inputs[0])
        digits = np.array(self.digit_model.digits(images), dtype=np.int64).reshape(-1, 1)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("prediction", digits)])
