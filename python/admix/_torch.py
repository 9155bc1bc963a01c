"""The check of PyTorch's version, before anything of it is loaded."""

import importlib.metadata

WANTED = "2.11."


def own_version():
    try:
        return importlib.metadata.version("admix")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def check():
    """Raises ImportError unless the PyTorch of this interpreter is one that this package was built for."""
    try:
        found = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        raise ImportError('admix needs PyTorch: pip install "torch==2.11.*"') from None
    if not found.startswith(WANTED):
        raise ImportError(
            f"admix {own_version()} was built for torch {WANTED}*, but torch {found} is installed; libtorch differs "
            'between versions. Run: pip install "torch==2.11.*"'
        )
    import torch

    if not torch.__version__.startswith(WANTED):
        raise ImportError(f"admix was built for torch {WANTED}*, but torch {torch.__version__} is loaded")
