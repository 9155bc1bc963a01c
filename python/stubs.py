"""Writes admix/named.pyi: the classes of all bundled mixers and losses, with their settings, for type checkers.

python stubs.py [--check]; with --check it writes nothing, and fails where the file is not what it would write.
"""

import pathlib
import sys

# The sources beside this file have no compiled module: the installed package does.
sys.path.pop(0)

from admix.entries import description, entries, settings  # noqa: E402

FILE = pathlib.Path(__file__).parent / "admix/named.pyi"
MIXER = ["seed: int = 0", 'draw: str = "mix"', "channels: int | None = None", "classes: int = 0",
         "normalize: tuple[Sequence[float], Sequence[float]] | None = None"]


def hint(kind):
    """A type in words as a type of Python: choices that hold values are dictionaries."""
    parts = set()
    for part in kind.split(" | "):
        if part in ("int", "float", "bool", "str", "None"):
            parts.add(part)
        elif part.startswith("{"):
            parts.add("dict[str, Any]")
        elif part.startswith("'"):
            parts.add(f"Literal[{part}]")
        else:
            parts.add({"array": "list[Any]", "object": "dict[str, Any]"}.get(part, "Any"))
    return " | ".join(sorted(parts))


def stub(entry):
    base = "Mixer" if entry["kind"] == "mixer" else "Loss"
    keywords = [f"{name}: {hint(kind)} = ..." for name, kind, _, _ in settings(entry)]
    keywords += MIXER if base == "Mixer" else []
    lines = [f"class {entry['type_name']}({base}):"]
    text = description(entry).splitlines()
    lines += [f'    """{text[0]}', *(f"    {line}".rstrip() for line in text[1:]), '    """']
    star = ["*"] if keywords else []
    lines += ["    def __init__(", "        self,", *(f"        {word}," for word in star + keywords), "    ) -> None: ..."]
    return "\n".join(lines)


def text():
    head = "from collections.abc import Sequence\nfrom typing import Any, Literal\n\nfrom .loss import Loss\nfrom .mixer import Mixer\n"
    bundled = [entry for entry in entries() if entry["name"] != "script"]
    return "\n\n".join([head.rstrip(), *(stub(entry) for entry in bundled)]) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text() == text() else f"{FILE} is not up to date: python stubs.py writes it")
    FILE.write_text(text())
