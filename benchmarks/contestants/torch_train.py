"""PyTorch: a plain training loop with oneDNN, uint8 data in memory, fused Adam.

Practices tried: eager and torch.compile (which needs a C++ compiler), each in channels-last and contiguous layout.
Loss and accuracy are kept as tensors and read once per request, so that no step waits for them.

usage: torch_train.py MNIST_DIRECTORY CALIBRATION_STEPS
"""

import os
import sys
import time

import torch
from torch import nn

from contestant import BATCH, serve, training_set

torch.set_num_threads(len(os.sched_getaffinity(0)))
images, labels = (torch.from_numpy(array) for array in training_set(sys.argv[1]))
labels = labels.long()


def network():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1600, 10),
    )


def batches():
    """Indices of shuffled batches, without end."""
    while True:
        yield from torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]


def practice(compiled, layout):
    def make():
        module = network().to(memory_format=layout)
        optimizer = torch.optim.Adam(module.parameters(), lr=0.001, fused=True)
        criterion = nn.CrossEntropyLoss()

        def forward(x, y):
            logits = module(x)
            return criterion(logits, y), (logits.argmax(1) == y).sum()

        if compiled:
            torch._dynamo.reset()
            forward = torch.compile(forward, dynamic=False)
        source = batches()

        def run(steps):
            loss_sum = torch.zeros(())
            hits = torch.zeros((), dtype=torch.long)
            start = time.perf_counter()
            for _ in range(steps):
                at = next(source)
                x = images[at].unsqueeze(1).to(torch.float32, memory_format=layout).div_(255)
                loss, correct = forward(x, labels[at])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                loss_sum += loss.detach()
                hits += correct
            elapsed = time.perf_counter() - start
            return {
                "msPerStep": elapsed * 1000 / steps,
                "loss": loss_sum.item() / steps,
                "accuracy": hits.item() / (steps * BATCH),
            }

        return run

    return make


practices = {
    "eager, channels last": practice(False, torch.channels_last),
    "eager, contiguous": practice(False, torch.contiguous_format),
    "compiled, channels last": practice(True, torch.channels_last),
    "compiled, contiguous": practice(True, torch.contiguous_format),
}
serve(practices, int(sys.argv[2]))
