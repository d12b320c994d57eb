"""BentoML: adaptive batching, one worker per core.

Environment: MODEL, the ONNX file; WORKERS
"""

import os
from typing import List

import bentoml
import numpy as np
from digit_model import DigitModel


@bentoml.service(workers=int(os.environ["WORKERS"]), traffic={"timeout": 60, "max_concurrency": 1024})
class Digits:
    def __init__(self):
        self.model = DigitModel()

    @bentoml.api(batchable=True, max_batch_size=32)
    def predict(self, images: np.ndarray) -> List[int]:
        return self.model.digits(images)
