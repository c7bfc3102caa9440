"""Records as JSON: dataclasses, tuples, numpy matrices and paths; written whole or not at all."""

import dataclasses
import json
import math
import os
import types
import typing
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from maquette.data.errors import InputError, shown

T = TypeVar("T")


def to_plain(value: object) -> object:
    """A record as JSON's own types. Infinities and NaN become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist())
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path, value: object) -> None:
    """Write beside and rename, so a reader never sees half a file."""
    write_text(path, json.dumps(to_plain(value), indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 beside and rename."""
    beside = path.with_name(f".{path.name}.partial")
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def read_json(path: Path) -> object:
    """The file's content. Raises InputError where it is missing or not JSON, which has no word for NaN."""
    try:
        return json.loads(path.read_text("utf-8-sig"), parse_constant=_refuse)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); expected a JSON file") from None
    except RecursionError:
        raise InputError(f"{path} is not a JSON file (nested beyond reason); make it again.") from None
    except ValueError as error:
        # Of a number with thousands of digits Python says how many it reads, and goes on about that.
        reason = str(error).partition(";")[0]
        raise InputError(f"{path} is not a JSON file ({reason}); was it cut short? Make it again.") from None


def _refuse(constant: str) -> typing.NoReturn:
    raise ValueError(f"it holds {constant}, a number must be finite")


def read_record(path: Path, record: type[T]) -> T:
    """A dataclass written by `write_json`. Raises InputError that names the field that does not fit."""
    return from_plain(record, read_json(path), path)


def from_plain(record: type[T], plain: object, path: Path) -> T:
    """The dataclass that JSON's own types describe; `path` is where they came from, for the error."""
    try:
        return typing.cast(T, _build(record, plain))
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise InputError(f"{path} does not hold a {record.__name__}: {error}; make it again") from None


def _build(kind: object, plain: object):
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if plain is None and type(None) in args:
            return None
        return _build_any([arg for arg in args if arg is not type(None)], plain)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(plain, dict):
            raise TypeError(f"expected an object for {kind.__name__}, got {shown(plain)}")
        hints = typing.get_type_hints(kind)
        unknown = set(plain) - set(hints)
        if unknown:
            raise TypeError(f"unknown field {shown(sorted(unknown)[0])} of {kind.__name__}")
        return kind(**{name: _build(hints[name], item) for name, item in plain.items()})
    if origin is tuple:
        if not isinstance(plain, list):
            raise TypeError(f"expected a list, got {shown(plain)}")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_build(args[0], item) for item in plain)
        if len(args) != len(plain):
            raise TypeError(f"expected {len(args)} values, got {len(plain)}")
        return tuple(_build(arg, item) for arg, item in zip(args, plain, strict=True))
    if kind is np.ndarray or getattr(kind, "array_type", None) is np.ndarray:
        array = _array(plain)
        if not isinstance(array, typing.cast(type, kind)):
            raise TypeError(f"expected {getattr(kind, '__name__', kind)}, got the shape {list(array.shape)}")
        return array
    if kind is float:
        return _number(plain)
    if kind is Path and isinstance(plain, str):
        return Path(plain)
    if isinstance(kind, type) and (not isinstance(plain, kind) or (kind is int and isinstance(plain, bool))):
        raise TypeError(f"expected {kind.__name__}, got {shown(plain)}")
    if kind is int and abs(typing.cast(int, plain)) >= 2**63:
        raise TypeError("a whole number is too large")
    return plain


def _build_any(kinds: list[object], plain: object) -> object:
    """What the first of the kinds makes of it that can; the error is the last one's."""
    for kind in kinds[:-1]:
        try:
            return _build(kind, plain)
        except (TypeError, ValueError, KeyError, OverflowError):
            continue
    return _build(kinds[-1], plain)


def _number(plain: object) -> float:
    """A finite number; NaN where there is none, which JSON has no other word for."""
    if plain is None:
        return math.nan
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise TypeError(f"expected a number, got {shown(plain)}")
    if not math.isfinite(value := float(plain)):
        raise TypeError("a number is too large")
    return value


def _array(plain: object) -> Float[np.ndarray, "..."]:
    """Numbers of any shape, each as `_number` has it."""
    if not isinstance(plain, list):
        raise TypeError(f"expected a list of numbers, got {shown(plain)}")
    given = np.array(plain, dtype=object)
    return np.array([_number(item) for item in given.ravel()], float).reshape(given.shape)
