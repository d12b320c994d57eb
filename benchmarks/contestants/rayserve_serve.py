"""Ray Serve: dynamic batching, one replica per core, its throughput-optimised settings (see servers.ts).

usage: rayserve_serve.py PORT REPLICAS; ends with its standard input
"""

import sys

import ray
from digit_model import DigitModel
from ray import serve
from starlette.requests import Request

MAX_BATCH = 32


@serve.deployment(
    num_replicas=int(sys.argv[2]), max_ongoing_requests=8 * MAX_BATCH, ray_actor_options={"num_cpus": 0.5}
)
class Digits:
    def __init__(self):
        self.model = DigitModel()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.001)
    async def predict(self, images):
        return self.model.digits(images)

    async def __call__(self, request: Request):
        return {"prediction": await self.predict((await request.json())["image"])}


if __name__ == "__main__":
    ray.init(include_dashboard=False, configure_logging=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Digits.bind())
    try:
        sys.stdin.read()
    finally:
        serve.shutdown()
        ray.shutdown()
