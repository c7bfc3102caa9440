"""Words of the command line that stand for many: `--fields.kind`, `--fields.baseline`, `--estimator.preset`, and
`bench --preset`.

Options that a preset sets and the person did not type are typed for them, so that what is asked for wins, one
default stands in one place, and `config.json` holds every value that was used. How long the estimator trains is
said in minutes or in steps, and how far away its object stands by distance or by share of the photo: a preset's one
gives way to the person's other.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import cast, get_args

from maquette.data.errors import InputError

EVERYTHING = ("run", "demo", "bench")
PAPER = {
    "--fields.kind": ["mlp"],
    "--masks.method": ["cosegment"],
    "--masks.features": ["dino"],
    "--estimator.preset": ["paper"],
}
"""Both papers as published, for `bench --preset paper`."""


def expand(command: str, words: Sequence[str]) -> list[str]:
    """The command's words with those that its presets stand for."""
    if command == "bench" and _value(words, "--preset") == "paper":
        words = [*words, *_untyped(words, PAPER)]
    return [*words, *_untyped(words, _of_fields(command, words) | _of_estimator(command, words))]


def _untyped(words: Sequence[str], wanted: dict[str, list[str]]) -> list[str]:
    """The options and values that the person did not type."""
    typed = _typed(words)
    return [word for name, values in wanted.items() if name not in typed for word in (name, *values)]


def _typed(words: Sequence[str]) -> set[str]:
    """The options among the words."""
    return {word.split("=")[0].replace("_", "-") for word in words if word.startswith("--")}


def _of_fields(command: str, words: Sequence[str]) -> dict[str, list[str]]:
    prefix = "--" if command == "fields" else "--fields."
    kind, baseline = (_value(words, f"{prefix}{name}") for name in ("kind", "baseline"))
    if command not in ("fields", *EVERYTHING) or (kind, baseline) == (None, None):
        return {}

    from maquette.fields.config import Baseline, FieldsConfig
    from maquette.fields.interface import KindName
    from maquette.fields.presets import preset

    # A name that is none leaves the defaults, and the parser says what is wrong.
    chosen = cast(KindName, kind) if kind in get_args(KindName) else "hashgrid"
    compared = cast(Baseline, baseline) if baseline in get_args(Baseline) else "none"
    return _options(preset(chosen, compared), FieldsConfig(), prefix)


def _of_estimator(command: str, words: Sequence[str]) -> dict[str, list[str]]:
    prefix = "--" if command == "estimator" else "--estimator."
    name = _value(words, f"{prefix}preset")
    if command not in ("estimator", *EVERYTHING):
        return {}
    amounts = {f"{prefix}minutes", f"{prefix}steps"}
    typed = _typed(words)
    said = {option for option in amounts & typed if _value(words, option) != "None"}
    if said == amounts:
        raise InputError(
            f"{prefix}minutes and {prefix}steps both say how long the estimator trains: leave one of them away"
        )
    if name is None:
        return {}

    from maquette.estimator.config import EstimatorConfig, PresetName
    from maquette.estimator.presets import preset

    if name not in get_args(PresetName):
        return {}
    wanted = _options(preset(cast(PresetName, name)), EstimatorConfig(), prefix)
    unwanted = amounts if said else set()
    unwanted |= {f"{prefix}views.share"} if f"{prefix}views.distance" in typed else set()
    return {option: values for option, values in wanted.items() if option not in unwanted}


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
            found[option] = _words(ours)
    return found


def _words(value: object) -> list[str]:
    """A value as the parser wants it typed: tuples, also of tuples, one word after the other."""
    if isinstance(value, tuple):
        return [word for part in value for word in _words(part)]
    return [str(value)]
