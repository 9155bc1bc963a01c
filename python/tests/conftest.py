import os
import pathlib

import pytest
import torch

import admix

torch.set_num_threads(1)


def every_mixer():
    """Names and settings of all mixers that can mix here, a choice among them."""
    return [(name, {"of": {"mixup": 0.5, "cutmix": 0.5}} if name == "choice" else {}) for name in sorted(admix.mixers())]


def wave(shape, speed, dtype=torch.float32):
    count = int(torch.tensor(shape).prod())
    return torch.sin(torch.arange(count, dtype=dtype) * speed).reshape(shape)


def given(dtype=torch.float32, n=6, size=16):
    """What mixers read, by the names of their keywords."""
    return {
        "images": wave((n, 3, size, size), 0.37, dtype),
        "saliency": wave((n, size, size), 0.013, dtype).abs(),
        "features": wave((n, 4, size // 4, size // 4), 0.71, dtype),
        "pseudo": torch.tensor([0, 1, 0, 1, 1, 0]).repeat(n // 6 + 1)[:n],
    }


def make(name, settings=None, **more):
    return admix.Mixer(name, channels=4, classes=5, **(settings or {}), **more)


def reads(mixer, inputs):
    return {name: inputs[name] for name in mixer.needs}


@pytest.fixture
def repo():
    return pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def program():
    """The reference program `mix_all` (examples/mix_all.rs), where it was built."""
    path = os.environ.get("ADMIX_MIX_ALL")
    if not path:
        pytest.skip("ADMIX_MIX_ALL names no program: `cargo xtask wheel --test` builds it")
    return path
