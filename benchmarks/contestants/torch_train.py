"""PyTorch: a plain training loop with oneDNN, uint8 data in memory, fused Adam.

Practices tried: eager and torch.compile (which needs a C++ compiler), convolutional networks each in channels-last and
contiguous layout. Loss and accuracy are kept as tensors and read once per request, so that no step waits for them.
"""

import os
import time

import torch
from torch import nn

from contestant import BATCH, NET, serve, training_set

IMAGES = NET.startswith("cnn") or NET == "vgg"
torch.set_num_threads(len(os.sched_getaffinity(0)))
examples, labels = (torch.from_numpy(array) for array in training_set())
labels = labels.long()


def first_channels(x):
    """uint8 [n, h, w, c] as [n, c, h, w]; other examples as they are."""
    return x.permute(0, 3, 1, 2) if IMAGES else x


examples = first_channels(examples).contiguous()


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(7, 128, batch_first=True)
        self.scores = nn.Linear(128, 10)

    def forward(self, x):
        return self.scores(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Linear(8, 128)
        self.positions = nn.Parameter(torch.randn(128, 128) * 0.02)
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True) for _ in range(2))
        )
        self.scores = nn.Linear(128, 10)

    def forward(self, x):
        return self.scores(self.blocks(self.tokens(x) + self.positions).mean(1))


def network():
    if NET == "lstm":
        return Lstm()
    if NET == "transformer":
        return Transformer()
    if NET == "mlp":
        return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    if NET == "vgg":
        stages = []
        channels = 3
        for filters in (32, 64, 128):
            stages += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
            stages += [nn.Conv2d(filters, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels = filters
        return nn.Sequential(*stages, nn.Flatten(), nn.Linear(2048, 320), nn.ReLU(), nn.Linear(320, 10))
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
        yield from torch.randperm(len(examples)).split(BATCH)[: len(examples) // BATCH]


class Trainer:
    def __init__(self, compiled, layout):
        self.layout = layout
        self.module = network().to(memory_format=layout)
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=0.001, fused=True)
        self.criterion = nn.CrossEntropyLoss()
        if compiled:
            torch._dynamo.reset()
        self.forward = torch.compile(self.plain, dynamic=False) if compiled else self.plain
        self.source = batches()
        self.parameters = sum(p.numel() for p in self.module.parameters())

    def plain(self, x, y):
        logits = self.module(x)
        return self.criterion(logits, y), (logits.argmax(1) == y).sum()

    def floats(self, x):
        return x.to(torch.float32, memory_format=self.layout).div_(255)

    def train(self, steps):
        loss_sum = torch.zeros(())
        hits = torch.zeros((), dtype=torch.long)
        for _ in range(steps):
            at = next(self.source)
            loss, correct = self.forward(self.floats(examples[at]), labels[at])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.detach()
            hits += correct
        return loss_sum.item() / steps, hits.item() / (steps * BATCH)

    def run(self, steps):
        start = time.perf_counter()
        loss, accuracy = self.train(steps)
        elapsed = time.perf_counter() - start
        return {"msPerStep": elapsed * 1000 / steps, "loss": loss, "accuracy": accuracy}

    def first(self):
        self.train(1)

    @torch.no_grad()
    def accuracy(self, x, y):
        x, y = first_channels(torch.from_numpy(x)), torch.from_numpy(y).long()
        self.module.eval()
        pairs = zip(x.split(256), y.split(256), strict=True)
        right = sum((self.module(self.floats(part)).argmax(1) == truth).sum().item() for part, truth in pairs)
        self.module.train()
        return right / len(y)


layouts = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
if not IMAGES:
    del layouts["channels last"]
serve(
    {
        f"{'compiled' if compiled else 'eager'}, {name}": (
            lambda compiled=compiled, layout=layout: Trainer(compiled, layout)
        )
        for compiled in (False, True)
        for name, layout in layouts.items()
    }
)
