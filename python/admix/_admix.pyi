from collections.abc import Sequence
from os import PathLike

from torch import Tensor

class Mix:
    """A mixed batch of N samples. Its tensors become objects of Python when they are asked for."""

    @property
    def images(self) -> Tensor:
        """The mixed images [N, C, H, W]; of a hidden mix the images as they were given."""
    @property
    def mask(self) -> Tensor | None:
        """The own image's mask [N, 1, H, W] in [0, 1], or None."""
    @property
    def lam(self) -> Tensor:
        """lambda, the share of the own image, as it was drawn: 0-dim or [N], float32."""
    @property
    def partner(self) -> Tensor | None:
        """Which sample each one is mixed with: [N] int64, or None where more than two are mixed."""
    @property
    def sources(self) -> Tensor:
        """The samples in each image: [N, S] int64."""
    @property
    def shares(self) -> Tensor:
        """What share of the label each of them gets: [N, S] float32; rows sum to 1."""
    @property
    def stage(self) -> int:
        """0 for mixed images, else the stage of the network, from 1, whose output `blend` mixes."""
    @property
    def extras(self) -> dict[str, Tensor]:
        """Anything else that the mixer shows, by name."""
    @property
    def mixer(self) -> str:
        """The name of the mixer; of a choice, that of the one it picked."""
    def target(self, labels: Tensor, classes: int) -> Tensor:
        """Soft labels [N, classes] float32 for labels [N] int64."""
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mixup cross-entropy of logits [N, K] for labels [N] int64, a scalar."""
    def of(self, values: Tensor) -> Shared:
        """What the mix stands for, as an argument of a loss: for labels [N] int64 or keys [N, D]."""
    def blend(self, maps: Tensor, theirs: Tensor | None = None) -> Tensor:
        """The maps [N, D, h, w] mixed by the mask of this mix, or in a way of its own."""

class Shared:
    """What a mix stands for, as an argument of a loss."""

    @property
    def values(self) -> Tensor:
        """The labels [N, S] int64 or keys [N, S, D] of the sources of each sample."""
    @property
    def shares(self) -> Tensor:
        """Their shares [N, S] float32; rows sum to 1."""

class Mixer:
    def __init__(
        self, name: str, settings: str, seed: int, channels: int | None = None, classes: int = 0,
        mean: Sequence[float] = ..., std: Sequence[float] = ..., script: str | PathLike[str] | None = None,
    ) -> None: ...
    @property
    def settings(self) -> str: ...
    @property
    def needs(self) -> str: ...
    def tensors(self) -> list[tuple[str, Tensor, bool]]: ...
    def bind(self, tensors: Sequence[tuple[str, Tensor]]) -> None: ...
    def reseed(self, seed: int) -> None: ...
    def train(self, on: bool) -> None: ...
    def after_step(self) -> None: ...
    def mix(
        self, images: Tensor, inputs: dict[str, Tensor], quiet: bool, draw: str, epoch: int, step: int, progress: float,
        worker: str, lam: float | None = None, partner: Tensor | None = None,
    ) -> Mix: ...

class Loss:
    def __init__(self, name: str, settings: str, script: str | PathLike[str] | None = None) -> None: ...
    @property
    def settings(self) -> str: ...
    @property
    def arguments(self) -> list[str]: ...
    def loss(self, operands: Sequence[Tensor | Mix | Shared]) -> Tensor: ...

torch_version: str

def entries() -> str: ...
def script_kind(path: str | PathLike[str]) -> tuple[str, str]: ...
def load_library(path: str | PathLike[str]) -> list[str]: ...
def libraries() -> list[PathLike[str]]: ...
