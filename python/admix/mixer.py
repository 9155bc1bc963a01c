"""`Mixer`: any mixer as a module."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from . import _admix


def as_json(settings, owner):
    """Settings as JSON, or a ValueError that names the one that is none."""
    for name, value in settings.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(
                f"`{name}` of {owner} is {value!r}, expected a number, a text, True or False, or a list or dictionary of these"
            ) from None
    return json.dumps(settings)


def _worker():
    """The name of the process that loads data for a DataLoader, with its seed of this epoch; empty elsewhere."""
    info = torch.utils.data.get_worker_info()
    return "" if info is None else f"worker {info.id} {info.seed}"


def _place():
    """The rank of this process, and the number of processes that train together."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _skip(function):
    """Lets the compiler run a function and what it calls as they are. `torch.compiler.disable` does so too, but imports the
    compiler, which takes a second."""
    compiler = torch._C._dynamo.eval_frame
    skip = compiler._FrameAction.SKIP
    compiler.set_code_exec_strategy(function.__code__, compiler._FrameExecStrategy(skip, skip))


def _leave_graph():
    """Ends the graph that is being compiled, with a reason."""
    if torch.compiler.is_compiling():
        torch._dynamo.graph_break("admix works outside of compiled graphs")


class Mixer(nn.Module):
    """A mixer by its name: mixes a batch of images, and says who is in which image with which share.

        mix = admix.Mixer("puzzlemix", alpha=1.0, seed=0)
        m = mix(images, saliency=g)                     # images [N, C, H, W], g [N, H, W]
        loss = m.loss(model(m.images), labels)          # or m.target(labels, classes): soft labels [N, classes]

    Settings are keywords; `admix.about(name)` lists them. One that is unknown, of a wrong type or out of range is a
    ValueError. The settings `alpha`, `per`, `fold`, `partner`, `prob` and `until` are there for every mixer.

    Draws depend on `seed`, the name of the draw, the epoch and the step alone, never on PyTorch's generators. A mixer
    counts its calls as steps unless it is given `step=`. In a worker of a DataLoader the worker's own seed joins in; in
    a group of processes (DDP) the rank does, as in a run of the program.

    A trained mixer (AMix, AutoMix) is a module with parameters: give them to an optimiser, and call `after_step()`
    after each of its steps. `state_dict()` holds the seed and the step as well.

    Parameters
    ----------
    name: the mixer; `admix.mixers()` lists all.
    seed: of all draws, from 0 to 2**64 - 1.
    draw: the name of its draws. Mixers with equal seeds and different names draw apart.
    channels: channels of the feature map that a trained mixer reads.
    classes: number of classes, for mixers that ask for it; 0 if unknown.
    normalize: (mean, std) of each channel by which images are normalised, pixels in [0, 1].
    **settings: the mixer's own.
    """

    def __init__(
        self, name: str, *, seed: int = 0, draw: str = "mix", channels: int | None = None, classes: int = 0,
        normalize: "tuple[Sequence[float], Sequence[float]] | None" = None, **settings: Any,
    ) -> None:
        super().__init__()
        self._make(
            name=name, seed=seed, draw=draw, channels=channels, classes=classes, normalize=normalize,
            settings=settings, script=None,
        )

    def _make(self, *, name, seed, draw, channels, classes, normalize, settings, script):
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**64:
            raise ValueError(f"`seed` is {seed!r}, expected a whole number from 0 to 2**64 - 1")
        if not isinstance(draw, str) or not draw:
            raise ValueError(f"`draw` is {draw!r}, expected a name")
        if channels is not None and (not isinstance(channels, int) or channels < 1):
            raise ValueError(f"`channels` is {channels!r}, expected the channels of the feature map, a whole number from 1")
        self._made = {
            "name": name, "draw": draw, "channels": channels, "classes": classes, "normalize": normalize,
            "settings": settings, "script": script, "libraries": [str(path) for path in _admix.libraries()],
        }
        self.seed, self.epoch, self.step = seed, 0, 0
        self._connect()
        self._register()

    def _connect(self):
        made = self._made
        for library in made["libraries"]:
            _admix.load_library(library)
        mean, std = ([], []) if made["normalize"] is None else ([float(v) for v in part] for part in made["normalize"])
        self._driver = _admix.Mixer(
            made["name"], as_json(made["settings"], f"the mixer `{made['name']}`"), self.seed, made["channels"],
            made["classes"], mean, std, made["script"],
        )
        self._needs = json.loads(self._driver.needs)
        self._bound = None

    def _register(self):
        """Makes the mixer's tensors parameters and buffers of this module, under the dotted names that they have."""
        self._names = []
        for name, tensor, trained in self._driver.tensors():
            *path, last = name.split(".")
            module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            if trained:
                module.register_parameter(last, tensor)
            else:
                module.register_buffer(last, tensor)
            self._names.append(name)
        self._bound = self._key()

    def _owned(self):
        """The tensors as this module holds them now: (name, tensor)."""
        for name in self._names:
            *path, last = name.split(".")
            module = self
            for part in path:
                module = module._modules[part]
            held = module._parameters if last in module._parameters else module._buffers
            yield name, held[last]

    def _key(self):
        return [(id(tensor), tensor.dtype, tensor.device) for _, tensor in self._owned()]

    def _bind(self):
        """Lets the mixer train the tensors that this module holds, after `to`, `load_state_dict(assign=True)` and the like."""
        tensors = list(self._owned())
        self._driver.bind(tensors)
        for (name, held), (_, own, trained) in zip(tensors, self._driver.tensors(), strict=True):
            if own is not held and trained and isinstance(held, nn.Parameter):
                # A library that makes its own tensors keeps them; they have the values now.
                *path, last = name.split(".")
                self.get_submodule(".".join(path))._parameters[last] = own
        self._driver.train(self.training)
        self._bound = self._key()

    def forward(
        self, images: Tensor, *, saliency: Tensor | None = None, features: Tensor | None = None,
        pseudo: Tensor | None = None, partner_images: Tensor | None = None, partner_features: Tensor | None = None,
        shown: Tensor | None = None, partner_shown: Tensor | None = None, quiet: bool = False, step: int | None = None,
        epoch: int | None = None, progress: float = 0.0, draw: str | None = None, partner: Tensor | None = None,
        lam: float | None = None,
    ) -> _admix.Mix:
        """Mixes a batch.

        images: [N, C, H, W], floats, normalised as the network wants them. Never modified.
        saliency: [N, H, W], for mixers that read it (PuzzleMix, Co-Mixup): where images matter.
        features: [N, D, h, w], for trained mixers: the map of the stage that they read, without graph.
        pseudo: [N] int64, for pairings by cluster.
        partner_images, partner_features: what partners are taken from, if not this batch.
        shown, partner_shown: images to show in place of those that are looked at.
        quiet: without a graph, for images that train the encoder alone; trained mixers adjust lambda then.
        step, epoch: of the draw; else the calls are counted, in `self.step`, and `self.epoch` holds.
        progress: of the training, in [0, 1], for `until={"Share": ...}`.
        draw: the name of this draw, where a step mixes more than once.
        partner: [N] int64, whom each sample meets, in place of drawn partners.
        lam: the share of the own image, in [0, 1], in place of drawn ones.

        Returns an `admix.Mix`. Raises ValueError for what does not fit.
        """
        _leave_graph()
        inputs = {}
        for name, tensor in (
            ("saliency", saliency), ("features", features), ("pseudo", pseudo), ("partner_images", partner_images),
            ("partner_features", partner_features), ("shown", shown), ("partner_shown", partner_shown),
        ):
            if tensor is not None:
                inputs[name] = tensor
        if self._names and self._bound != self._key():
            self._bind()
        if step is None:
            rank, processes = _place()
            at = self.step * processes + rank
        else:
            at = step
        mixed = self._driver.mix(
            images, inputs, quiet, self._made["draw"] if draw is None else draw, self.epoch if epoch is None else epoch,
            at, progress, _worker(), lam, partner,
        )
        if step is None:
            self.step += 1
        return mixed

    _skip(forward)

    def after_step(self) -> None:
        """To be called after each step of an optimiser that trains the mixer: brings parameters back to where they are valid."""
        if self._names:
            if self._bound != self._key():
                self._bind()
            self._driver.after_step()

    @property
    def needs(self) -> list[str]:
        """The names of the tensors that a mix must be given, `images` among them."""
        return list(self._needs["must"])

    @property
    def stage(self) -> int | None:
        """The stage of the network, from 1, whose feature map it reads; None if it reads none."""
        return self._needs["stage"]

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings in full, defaults included."""
        full = json.loads(self._driver.settings)
        del full["plugin"]
        return full

    def train(self, mode=True):
        super().train(mode)
        if "_driver" in self.__dict__:
            self._driver.train(mode)
        return self

    def get_extra_state(self):
        return {"seed": self.seed, "epoch": self.epoch, "step": self.step}

    def set_extra_state(self, state):
        self.seed, self.epoch, self.step = (int(state[name]) for name in ("seed", "epoch", "step"))
        self._driver.reseed(self.seed)

    def __getstate__(self):
        state = self.__dict__.copy()
        for name in ("_driver", "_needs", "_bound"):
            state.pop(name, None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        self._connect()
        self._driver.train(self.training)

    def extra_repr(self):
        settings = "".join(f", {name}={value!r}" for name, value in self._made["settings"].items())
        return f"{self._made['name']!r}{settings}, seed={self.seed}"
