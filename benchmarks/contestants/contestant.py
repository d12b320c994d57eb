"""What the Python training contestants share: real MNIST from its IDX files as uint8, and the line protocol.

A contestant says {"ready": true, "practice": ..., "tried": {...}} once; for every {"steps": n} it trains n steps
and answers {"msPerStep": ..., "loss": ..., "accuracy": ...}; it ends when its input does. An exception is answered
as {"error": ...}. All lines are JSON; anything else on stdout is ignored by the reader.
"""

import json
import os
import sys
import traceback

import numpy as np

BATCH = 32


def read_idx(path):
    data = np.fromfile(path, dtype=np.uint8)
    rank = int(data[3])
    shape = data[4 : 4 + 4 * rank].view(">u4").astype(int)
    return data[4 + 4 * rank :].reshape(shape)


def training_set(directory):
    """uint8 images [60000, 28, 28] and uint8 labels [60000]."""
    return (
        read_idx(os.path.join(directory, "train-images-idx3-ubyte")),
        read_idx(os.path.join(directory, "train-labels-idx1-ubyte")),
    )


def say(message):
    print(json.dumps(message), flush=True)


def fastest(practices, steps):
    """Measures every practice, {name: () -> run(n)}, on a model of its own; gives the best one's name and all times.

    A practice that does not work here is reported with its reason instead of a time.
    """
    tried = {}
    for name, make in practices.items():
        try:
            run = make()
            run(steps)
            tried[name] = min(run(steps)["msPerStep"] for _ in range(2))
        except Exception as error:  # noqa: BLE001 - a practice that fails is a finding, not a failure
            tried[name] = f"does not work here: {str(error).strip().splitlines()[0][:200]}"
    working = {name: ms for name, ms in tried.items() if not isinstance(ms, str)}
    return min(working, key=working.get), tried


def serve(practices, calibration_steps):
    """Chooses the fastest practice, starts a fresh model with it, and answers requests until input ends."""
    try:
        if calibration_steps > 0:
            name, tried = fastest(practices, calibration_steps)
        else:
            name, tried = next(iter(practices)), {}
        run = practices[name]()
        say({"ready": True, "practice": name, "tried": tried})
        for line in sys.stdin:
            say(run(json.loads(line)["steps"]))
    except Exception:  # noqa: BLE001 - the reader wants the reason in a line
        say({"error": traceback.format_exc()})
        sys.exit(1)
