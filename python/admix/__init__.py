"""Mixup on PyTorch tensors: mixers and losses for a training loop of your own.

    import admix

    mix = admix.Mixer("cutmix", alpha=1.0, seed=0)      # or admix.CutMix(alpha=1.0, seed=0)
    m = mix(images)                                     # [N, C, H, W]
    loss = m.loss(model(m.images), labels)              # labels [N]

`admix.mixers()` and `admix.losses()` list what there is, `admix.about("puzzlemix")` describes one with its settings,
and so does `help(admix.PuzzleMix)`.
"""

import importlib

from . import _torch

_torch.check()

from . import _admix  # noqa: E402  (only a fitting PyTorch may be loaded)
from ._admix import Mix, Shared  # noqa: E402
from .data import Collate, Transform  # noqa: E402
from .entries import about, losses, mixers  # noqa: E402
from .loss import Loss  # noqa: E402
from .mixer import Mixer  # noqa: E402
from .script import Script, load_library  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .named import *  # noqa: F403

__version__ = _torch.own_version()
__all__ = [
    "Collate", "Loss", "Mix", "Mixer", "Script", "Shared", "Transform", "about", "load_library", "losses", "mixers",
]


def __getattr__(name):
    # `admix.PuzzleMix` is made when it is asked for: a class for each mixer and loss, libraries' included.
    return _named().class_of(name)


def __dir__():
    return sorted([*__all__, *_named().names()])


def _named():
    # `from . import named` would ask this module for the name, and so itself.
    return importlib.import_module("admix.named")
