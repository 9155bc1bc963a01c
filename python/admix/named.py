"""A class for each mixer and loss, such as `admix.PuzzleMix`, made when it is asked for."""

import inspect

from .entries import description, entries, settings
from .loss import Loss
from .mixer import Mixer

_made = {}


def _own():
    return {entry["type_name"]: entry for entry in entries() if entry["name"] != "script"}


def names():
    """The names of all these classes."""
    return sorted(_own())


def class_of(name):
    """The class of this name.

    Raises AttributeError if there is no such mixer or loss.
    """
    if name in _made:
        return _made[name]
    entry = None if name.startswith("_") else _own().get(name)
    if entry is None:
        raise AttributeError(f"module 'admix' has no attribute {name!r}")
    base = Mixer if entry["kind"] == "mixer" else Loss

    def __init__(self, **keywords):
        base.__init__(self, entry["name"], **keywords)

    given = [(own, default) for own, _, default, _ in settings(entry)]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(own, keyword, default=default if default is not ... else inspect.Parameter.empty)
        for own, default in given
    ]
    if base is Mixer:
        signature = inspect.signature(Mixer.__init__)
        parameters += [p for p in signature.parameters.values() if p.kind is keyword]
    made = type(name, (base,), {"__init__": __init__, "__doc__": description(entry), "__module__": "admix"})
    made.__signature__ = inspect.Signature(parameters)
    _made[name] = made
    return made
