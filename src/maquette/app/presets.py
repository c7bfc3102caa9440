"""Words of the command line that stand for many: `--fields.kind`, `--fields.baseline`, and `bench --preset`.

Options that a preset sets and the person did not type are typed for them, so that what is asked for wins, one
default stands in one place, and `config.json` holds every value that was used.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import cast, get_args

PAPER = {"--fields.kind": ["mlp"], "--masks.method": ["cosegment"], "--masks.features": ["dino"]}
"""DORec as published, for `bench --preset paper`."""


def expand(command: str, words: Sequence[str]) -> list[str]:
    """The command's words with those that its presets stand for."""
    prefix = {"fields": "--", "run": "--fields.", "demo": "--fields.", "bench": "--fields."}.get(command)
    if prefix is None:
        return list(words)
    if command == "bench" and _value(words, "--preset") == "paper":
        words = [*words, *_untyped(words, PAPER)]
    kind, baseline = (_value(words, f"{prefix}{name}") for name in ("kind", "baseline"))
    if (kind, baseline) == (None, None):
        return list(words)

    from maquette.fields.config import Baseline, FieldsConfig
    from maquette.fields.interface import KindName
    from maquette.fields.presets import preset

    # A name that is none leaves the defaults, and the parser says what is wrong.
    chosen = cast(KindName, kind) if kind in get_args(KindName) else "hashgrid"
    compared = cast(Baseline, baseline) if baseline in get_args(Baseline) else "none"
    wanted = _options(preset(chosen, compared), FieldsConfig(), prefix)
    return [*words, *_untyped(words, wanted)]


def _untyped(words: Sequence[str], wanted: dict[str, list[str]]) -> list[str]:
    """The options and values that the person did not type."""
    typed = {word.split("=")[0].replace("_", "-") for word in words if word.startswith("--")}
    return [word for name, values in wanted.items() if name not in typed for word in (name, *values)]


def _value(words: Sequence[str], option: str) -> str | None:
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.split("=", 1)[1]
    return None


def _options(config: object, default: object, prefix: str) -> dict[str, list[str]]:
    """What differs from the default, as options and their values."""
    found = {}
    assert is_dataclass(config)
    for field in fields(config):
        ours, theirs = getattr(config, field.name), getattr(default, field.name)
        option = prefix + field.name.replace("_", "-")
        if is_dataclass(ours):
            found |= _options(ours, theirs, f"{option}.")
        elif ours != theirs:
            found[option] = [str(value) for value in ours] if isinstance(ours, tuple) else [str(ours)]
    return found
