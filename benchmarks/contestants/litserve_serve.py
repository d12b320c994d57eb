"""LitServe: dynamic batching, one inference worker per core, the fast (ZeroMQ) queue.

usage: litserve_serve.py PORT WORKERS
"""

import sys

import litserve
import numpy as np
from digit_model import DigitModel


class DigitApi(litserve.LitAPI):
    def setup(self, device):
        self.model = DigitModel()

    def decode_request(self, request):
        return np.array(request["image"], dtype=np.uint8)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, batch):
        return self.model.digits(batch)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"prediction": output}


if __name__ == "__main__":
    api = DigitApi(max_batch_size=32, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[2]), fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
