"""Mixers and losses of your own: scripts and libraries."""

import os
from collections.abc import Sequence
from typing import Any

from torch import nn

from . import _admix
from .loss import Loss
from .mixer import Mixer


def Script(
    file: str | os.PathLike[str], *, seed: int = 0, draw: str = "mix", channels: int | None = None, classes: int = 0,
    normalize: tuple[Sequence[float], Sequence[float]] | None = None, **params: Any,
) -> Mixer | Loss:
    """A mixer or a loss from a script in Rhai: an `admix.Mixer` or an `admix.Loss`, by the function that it has.

    file: the script. The language: docs/scripts.md.
    **params: the script's parameters, and for mixers the settings that every mixer has.
    The others are those of `admix.Mixer`; a loss takes none of them.

    Raises ValueError for a file that cannot be read or compiled, with its line, and for unknown parameters.
    """
    path = os.path.abspath(os.fspath(file))
    kind, name = _admix.script_kind(path)
    made = (Mixer if kind == "mixer" else Loss).__new__(Mixer if kind == "mixer" else Loss)
    nn.Module.__init__(made)
    if kind == "mixer":
        made._make(
            name=name, seed=seed, draw=draw, channels=channels, classes=classes, normalize=normalize,
            settings=params, script=path,
        )
    else:
        made._make(name, params, path)
    return made


def load_library(path: str | os.PathLike[str]) -> list[str]:
    """Loads a plugin library (docs/plugins.md), which runs its code, and returns the names of its mixers and losses.

    From then on `admix.Mixer`, `admix.Loss`, `admix.mixers()` and `admix.about()` know them. The library stays loaded
    for the life of the process. Raises ValueError for a file that is no such library or was built for another libtorch.
    """
    return _admix.load_library(os.fspath(path))
