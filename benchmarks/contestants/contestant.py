"""What the Python training contestants share: real MNIST as uint8, shaped for each network, and the line protocol.

usage: CONTESTANT MNIST_DIRECTORY NET CALIBRATION_STEPS [PRACTICE]

A contestant says {"ready": true, "practice": ..., "parameters": ..., "tried": {...}} once it can train. Without
calibration steps it goes by PRACTICE, or by its first. Then it answers, in any order:
{"steps": n}: trains n steps; {"msPerStep": ..., "loss": ..., "accuracy": ...}
{"first": true}: takes the first step or, where several are one execution, the first execution; {}
{"timeTo": a}: trains a fresh model until it gets the share a of the test images right, asking every EVALUATE_STEPS
steps; {"accuracy": ..., "steps": ...}
{"memory": true}: {"peakMiB": ...}
It ends when its input does. An exception is answered as {"error": ...}. All lines are JSON; anything else on stdout
is ignored by the reader.
"""

import json
import os
import resource
import sys
import traceback

import numpy as np

EVALUATE_STEPS = 256
BATCHES = {"cnn128": 128}
DIRECTORY, NET, CALIBRATION_STEPS = sys.argv[1], sys.argv[2], int(sys.argv[3])
PRACTICE = sys.argv[4] if len(sys.argv) > 4 else None
BATCH = BATCHES.get(NET, 32)


def read_idx(name):
    data = np.fromfile(os.path.join(DIRECTORY, name), dtype=np.uint8)
    rank = int(data[3])
    shape = data[4 : 4 + 4 * rank].view(">u4").astype(int)
    return data[4 + 4 * rank :].reshape(shape)


def shaped(images):
    """uint8 [n, 28, 28] as the network takes them."""
    n = len(images)
    if NET == "mlp":
        return images.reshape(n, 784)
    if NET == "lstm":
        return np.ascontiguousarray(images.reshape(n, 784)[:, :700]).reshape(n, 100, 7)
    if NET in ("vgg", "transformer"):
        padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
        return np.repeat(padded[..., None], 3, axis=-1) if NET == "vgg" else padded.reshape(n, 128, 8)
    return images[..., None]


def training_set():
    """uint8 examples and uint8 labels of the 60,000 training images."""
    return shaped(read_idx("train-images-idx3-ubyte")), read_idx("train-labels-idx1-ubyte")


def test_set():
    return shaped(read_idx("t10k-images-idx3-ubyte")), read_idx("t10k-labels-idx1-ubyte")


def say(message):
    print(json.dumps(message), flush=True)


def fastest(practices, steps):
    """Measures every practice, {name: () -> trainer}, on a model of its own; gives the best one's name and all times.

    A practice that does not work here is reported with its reason instead of a time.
    """
    tried = {}
    for name, make in practices.items():
        try:
            trainer = make()
            trainer.run(steps)
            tried[name] = min(trainer.run(steps)["msPerStep"] for _ in range(2))
        except Exception as error:  # noqa: BLE001 - a practice that fails is a finding, not a failure
            tried[name] = f"does not work here: {str(error).strip().splitlines()[0][:200]}"
    working = {name: ms for name, ms in tried.items() if not isinstance(ms, str)}
    return min(working, key=working.get), tried


def answer(request, trainer, make):
    if "steps" in request:
        return trainer.run(request["steps"])
    if "first" in request:
        trainer.first()
        return {}
    if "memory" in request:
        return {"peakMiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    fresh = make()
    test = test_set()
    steps = 0
    while True:
        fresh.train(EVALUATE_STEPS)
        steps += EVALUATE_STEPS
        accuracy = fresh.accuracy(*test)
        if accuracy >= request["timeTo"] or steps >= 40 * EVALUATE_STEPS:
            return {"accuracy": accuracy, "steps": steps}


def serve(practices):
    """Chooses the fastest practice, starts a fresh model with it, and answers requests until input ends.

    A practice makes a trainer: run(steps), train(steps), first(), accuracy(examples, labels), parameters.
    """
    try:
        if CALIBRATION_STEPS > 0:
            name, tried = fastest(practices, CALIBRATION_STEPS)
        else:
            name, tried = PRACTICE or next(iter(practices)), {}
        trainer = practices[name]()
        say({"ready": True, "practice": name, "parameters": trainer.parameters, "tried": tried})
        for line in sys.stdin:
            say(answer(json.loads(line), trainer, practices[name]))
    except Exception:  # noqa: BLE001 - the reader wants the reason in a line
        say({"error": traceback.format_exc()})
        sys.exit(1)
