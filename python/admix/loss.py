"""`Loss`: any loss as a module."""

import json
from typing import Any

from torch import Tensor, nn

from . import _admix
from .mixer import _leave_graph, _skip, as_json


class Loss(nn.Module):
    """A loss by its name, of losses that know of mixes.

        mask = admix.Loss("mask", margin=0.1)
        value = mask(m)                                 # m: an admix.Mix with a mask
        ce = admix.Loss("mixup_cross_entropy")
        value = ce(logits, m.of(labels))                # logits [N, K], labels [N]; or plain labels

    Settings are keywords; `admix.about(name)` lists them, and `arguments` says what it takes. Values are computed in
    float32 or better, whatever autocast says. Raises ValueError for settings and arguments that do not fit.
    """

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__()
        self._make(name, settings, None)

    def _make(self, name, settings, script):
        libraries = [str(path) for path in _admix.libraries()]
        self._made = {"name": name, "settings": settings, "script": script, "libraries": libraries}
        self._connect()

    def _connect(self):
        made = self._made
        for library in made["libraries"]:
            _admix.load_library(library)
        settings = as_json(made["settings"], f"the loss `{made['name']}`")
        self._driver = _admix.Loss(made["name"], settings, made["script"])

    def forward(self, *arguments: Tensor | _admix.Mix | _admix.Shared) -> Tensor:
        """The value of the loss, a scalar. Arguments are tensors, mixes, and what `m.of(labels or keys)` gives."""
        _leave_graph()
        return self._driver.loss(list(arguments))

    _skip(forward)

    @property
    def arguments(self) -> list[str]:
        """What it takes, in order, in words."""
        return list(self._driver.arguments)

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings in full, defaults included."""
        full = json.loads(self._driver.settings)
        del full["plugin"]
        return full

    def __getstate__(self):
        state = self.__dict__.copy()
        state.pop("_driver", None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        self._connect()

    def extra_repr(self):
        settings = "".join(f", {name}={value!r}" for name, value in self._made["settings"].items())
        return f"{self._made['name']!r}{settings}"
