"""Mixers where batches are made: a collate function for a DataLoader, and a transform of batches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .mixer import Mixer


def _soft(mixer, classes, images, labels):
    mixed = mixer(images, quiet=True)
    if mixed.stage:
        raise ValueError(f"`{mixed.mixer}` mixes inside of the network (stage {mixed.stage}): call it in the loop")
    return mixed.images, mixed.target(labels, classes)


def _check(mixer, classes):
    if mixer.needs != ["images"]:
        more = ", ".join(name for name in mixer.needs if name != "images")
        raise ValueError(f"{mixer} reads {more} beside the images: call it in the loop")
    if mixer._names:
        raise ValueError(f"{mixer} is trained: call it in the loop")
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"`classes` is {classes!r}, expected the number of classes, a whole number from 1")


class Transform:
    """A mixer as a transform of batches, to be used like `torchvision.transforms.v2.MixUp`.

        mixed = admix.Transform(admix.Mixer("cutmix"), classes=10)
        images, targets = mixed(images, labels)         # targets: soft labels [N, classes], float32

    For mixers that read images alone. Raises ValueError for others.
    """

    def __init__(self, mixer: Mixer, classes: int) -> None:
        _check(mixer, classes)
        self.mixer, self.classes = mixer, classes

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if labels is None:
            images, labels = images
        return _soft(self.mixer, self.classes, images, labels)

    def __repr__(self):
        return f"Transform({self.mixer}, classes={self.classes})"


class Collate:
    """A mixer as the `collate_fn` of a DataLoader: batches come out mixed, with soft labels [N, classes].

        loader = DataLoader(dataset, batch_size=100, collate_fn=admix.Collate(admix.Mixer("mixup"), classes=10))

    Each worker draws for itself, and anew in every epoch: from the mixer's seed, and the worker's, which comes from
    PyTorch's (`torch.manual_seed`). `collate` makes (images, labels) of the list of samples. Raises ValueError for
    mixers that read more than images.
    """

    def __init__(
        self, mixer: Mixer, classes: int, collate: Callable[[list], Any] = torch.utils.data.default_collate
    ) -> None:
        _check(mixer, classes)
        self.mixer, self.classes, self.collate = mixer, classes, collate

    def __call__(self, samples: list) -> tuple[Tensor, Tensor]:
        images, labels = self.collate(samples)
        return _soft(self.mixer, self.classes, images, labels)
