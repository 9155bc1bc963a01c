"""What there is to choose from."""

import json
import re
import textwrap

from . import _admix


def entries():
    """All mixers and losses as dictionaries, those of loaded libraries included."""
    return json.loads(_admix.entries())


def mixers() -> dict[str, str]:
    """The mixers: a dictionary of names and summaries.

    >>> "puzzlemix" in admix.mixers()
    True
    """
    return {e["name"]: e["summary"] for e in entries() if e["kind"] == "mixer" and e["name"] != "script"}


def losses() -> dict[str, str]:
    """The losses: a dictionary of names and summaries."""
    return {e["name"]: e["summary"] for e in entries() if e["kind"] == "loss" and e["name"] != "script"}


def _folded(name):
    return name.replace("_", "").replace("-", "").lower()


def about(name: str) -> str:
    """The description of a mixer or loss as a text: what it does, what it reads, and its settings with their defaults.

    Raises ValueError if there is none of this name; the message lists the names.
    """
    found = [e for e in entries() if _folded(name) in (_folded(e["name"]), _folded(e["type_name"]))]
    if not found:
        known = ", ".join(e["name"] for e in entries())
        raise ValueError(f"no mixer or loss named `{name}`; known: {known}")
    return "\n\n".join(description(entry) for entry in found)


def kind_of_setting(schema, root):
    """The type of a setting in words: "number", "Batch | Sample"."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    options = schema.get("oneOf") or schema.get("anyOf")
    if options:
        return " | ".join(kind_of_setting(option, root) for option in options)
    if "enum" in schema:
        return " | ".join(repr(value) for value in schema["enum"])
    if "const" in schema:
        return repr(schema["const"])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " | ".join("None" if one == "null" else one for one in kind)
    if kind == "object" and len(schema.get("properties", {})) == 1 and schema.get("required"):
        name, inner = next(iter(schema["properties"].items()))
        return f"{{{name!r}: {kind_of_setting(inner, root)}}}"
    return {"null": "None", "boolean": "bool", "integer": "int", "number": "float", "string": "str"}.get(kind, kind)


def settings(entry):
    """The settings of an entry: (name, type in words, default as Python, text)."""
    schema, defaults = entry["schema"], entry["defaults"] or {}
    for name, field in schema.get("properties", {}).items():
        yield name, kind_of_setting(field, schema), defaults.get(name, ...), field.get("description", "")
    for served in entry["served"]:
        yield served["name"], served_kind(served["type"]), served_default(served), served["description"]


def served_kind(words):
    """The type of a setting that is there for every mixer, as Python has it: `Epochs(number)` is {'Epochs': float}."""
    plain = {"number": "float", "true or false": "bool"}
    inside = re.sub(r"(\w+): (\w+)", lambda m: f"{{{m[1]!r}: {plain.get(m[2], m[2])}}}", words)

    def one(word):
        name, _, holds = word.rstrip(")").partition("(")
        return f"{{{name!r}: {plain.get(holds, holds)}}}" if holds else plain.get(name, repr(name))

    return " | ".join(one(word) for word in inside.split(" | "))


def served_default(served):
    """The default of a setting that is there for every mixer: written as in a recipe, returned as Python."""
    text = served["default"]
    try:
        return json.loads(text)
    except ValueError:
        return text


def description(entry):
    """The description of one entry as a text."""
    lines = [f"{entry['summary'][:1].upper()}{entry['summary'][1:]}.", "", f"Source: {entry['source']}."]
    own = entry["schema"].get("description", "")
    if entry["needs"]:
        reads = "Reads" if entry["kind"] == "mixer" else "Takes"
        lines += [f"{reads}: {', '.join(entry['needs'])}."]
    # How a recipe names it is of no use here.
    own = re.sub(r"^Recipe: `[^`]*`[.,]?", "", " ".join(own.split())).strip()
    if own:
        lines += ["", *textwrap.wrap(f"{own[:1].upper()}{own[1:]}", 100)]
    all_settings = list(settings(entry))
    if all_settings:
        lines += ["", "Settings", "--------"]
    for name, kind, default, text in all_settings:
        given = "" if default is ... else f" = {default!r}"
        lines += [f"{name}: {kind}{given}"]
        lines += textwrap.wrap(" ".join(text.split()), 96, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
