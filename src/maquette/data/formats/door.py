"""The door of every format: values of foreign files, each with its place, checked before anything computes.

`Value` walks through JSON, rows of text and arrays; whatever does not fit is a FormatError that names the file,
the place in it and the cure. Nothing here unpickles, and nothing allocates more than the file holds.
"""

import json
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BufferedIOBase
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float

from maquette.data.errors import FormatError, shown

LARGEST_NUMBER = 1e9
LARGEST_SIDE = 100_000
LARGEST_FILE = 2 << 30
LARGEST_ARRAY = 1 << 30
# What zipfile and NumPy raise on bytes that may be anything.
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, KeyError, IndexError),
    RuntimeError,  # zipfile: a member that is encrypted, or packed in a way it does not know
    OverflowError,  # NumPy: a shape in the header past any integer
    MemoryError,  # NumPy: a shape in the header past any memory
)
MAKE_AGAIN = "was it cut short or edited? Copy or export it again"


@dataclass(frozen=True)
class Value:
    """One value of a file, its place there, and what to do where it does not fit."""

    content: object
    path: Path
    place: str = "the whole file"
    cure: str = MAKE_AGAIN

    def error(self, problem: str, cure: str = "") -> FormatError:
        return FormatError(self.path, self.place, problem, cure or self.cure)

    def at(self, place: str, content: object) -> "Value":
        """A value inside this one."""
        inside = place if self.place == "the whole file" else f"{self.place}, {place}"
        return replace(self, place=inside, content=content)

    def record(self) -> dict:
        if not isinstance(self.content, dict):
            raise self.error(f"expected an object {{...}}, got {self.shown}")
        return self.content

    def key(self, name: str) -> "Value":
        """The value of a key that must be there."""
        found = self.get(name)
        if found is None:
            some = ", ".join(list(map(str, self.record()))[:8]) or "none"
            raise self.error(f"the key {name!r} is missing (keys: {some[:200]})")
        return found

    def get(self, name: str) -> "Value | None":
        """The value of a key, None where it is absent or null."""
        content = self.record().get(name)
        return None if content is None else self.at(repr(name), content)

    def items(self) -> "Iterator[tuple[str, Value]]":
        for name, content in self.record().items():
            yield name, self.at(repr(name), content)

    def each(self, what: str = "entry") -> "list[Value]":
        if not isinstance(self.content, list):
            raise self.error(f"expected a list [...], got {self.shown}")
        return [self.at(f"{what} {index}", content) for index, content in enumerate(self.content)]

    def text(self) -> str:
        if not isinstance(self.content, str) or not self.content.strip() or "\0" in self.content:
            raise self.error(f"expected a text, got {self.shown}")
        return self.content

    def number(self, above: float | None = None, most: float = LARGEST_NUMBER) -> float:
        """A finite number; JSON's or as text. Also greater than `above`, and no larger than `most` in size."""
        content = self.content
        try:
            if isinstance(content, bool) or not isinstance(content, (int, float, str, np.number)):
                raise ValueError
            value = float(content)
        except (ValueError, OverflowError):
            raise self.error(f"expected a number, got {self.shown}") from None
        if not math.isfinite(value) or abs(value) > most:
            raise self.error(f"expected a number of at most {most:g} in size, got {self.shown}")
        if above is not None and not value > above:
            raise self.error(f"expected a number above {above:g}, got {self.shown}")
        return value

    def whole(self, least: int = 0, most: int = 2**62) -> int:
        """A whole number in a range."""
        value = self.number(most=2.0**63)
        exact = int(self.content) if isinstance(self.content, (int, np.integer)) else int(value)
        if (exact != value and float(exact) != value) or not least <= exact <= most:
            raise self.error(f"expected a whole number from {least} to {most}, got {self.shown}")
        return exact

    def array(self, *shape: int, most: float = LARGEST_NUMBER) -> Float[np.ndarray, "..."]:
        """Finite numbers of a shape (-1: any length), no larger than `most` in size; flat ones are reshaped."""
        try:
            given = np.asarray(self.content)
        except (ValueError, OverflowError):
            raise self.error(f"expected {_by(shape)} numbers, got rows of different lengths") from None
        if given.dtype.kind not in "iuf":
            raise self.error(f"expected {_by(shape)} numbers, got {self.shown}")
        fits = given.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, given.shape, strict=True))
        if not fits and given.size == abs(math.prod(shape)) and -1 not in shape and given.ndim == 1:
            given, fits = given.reshape(shape), True
        if not fits:
            raise self.error(f"expected {_by(shape)} numbers, got {_by(given.shape)}")
        values = given.astype(np.float64)
        if not np.isfinite(values).all():
            raise self.error("a number is not finite (NaN or infinite)")
        if values.size and np.abs(values).max() > most:
            raise self.error(f"a number is {np.abs(values).max():.3g}, at most {most:g} is expected")
        return values

    @property
    def shown(self) -> str:
        """The value for a message."""
        return shown(self.content)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join("N" if n == -1 else str(n) for n in shape) or "single"


def read_bytes(path: Path, cure: str = MAKE_AGAIN) -> bytes:
    """A file's bytes. Raises FormatError where it is missing, no file, or larger than any of its kind."""
    whole = Value(None, path, cure=cure)
    try:
        if not path.is_file():
            raise whole.error("is missing" if not path.exists() else "is a folder, expected a file")
        if path.stat().st_size > LARGEST_FILE:
            raise whole.error(f"is {path.stat().st_size >> 20} MiB large; at most {LARGEST_FILE >> 20} are read")
        return path.read_bytes()
    except OSError as error:
        raise whole.error(f"cannot be opened ({error.strerror or error})") from None


def read_text(path: Path, cure: str = MAKE_AGAIN) -> str:
    """A UTF-8 text. Raises FormatError for anything else."""
    try:
        return read_bytes(path, cure).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        whole = Value(None, path, place=f"byte {error.start}")
        raise whole.error("is not UTF-8 text", "save it as plain UTF-8 text, or copy it again") from None


def read_rows(path: Path, cure: str = MAKE_AGAIN, comment: str = "#") -> list[Value]:
    """The lines of a text that are neither empty nor comments, as texts."""
    lines = enumerate(read_text(path, cure).splitlines(), 1)
    kept = ((n, line.strip()) for n, line in lines)
    whole = Value(None, path, cure=cure)
    return [whole.at(f"line {n}", line) for n, line in kept if line and not line.startswith(comment)]


def numbers_of(row: Value, separator: str | None = None) -> list[Value]:
    """The numbers of a line of text, each with its place."""
    parts = row.text().split(separator)
    return [row.at(f"number {index}", part.strip()) for index, part in enumerate(parts, 1)]


def row_of(row: Value, count: int, separator: str | None = None) -> Float[np.ndarray, "n"]:
    """Exactly `count` finite numbers of a line."""
    parts = numbers_of(row, separator)
    if len(parts) != count:
        raise row.error(f"expected {count} numbers, got {len(parts)}")
    return np.array([part.number() for part in parts])


def read_matrix(path: Path, *shape: int, cure: str = MAKE_AGAIN) -> Value:
    """The numbers of a small text file as a Value that holds them in `shape`, whatever its line breaks."""
    rows = read_rows(path, cure)
    numbers = [
        part.number() for row in rows for part in numbers_of(replace(row, content=row.text().replace(",", " ")))
    ]
    whole = Value(numbers, path, cure=cure)
    return replace(whole, content=whole.array(*shape))


def read_json_value(path: Path, cure: str = MAKE_AGAIN) -> Value:
    """A JSON file's content. Raises FormatError where it is none."""
    text = read_text(path, cure)
    try:
        return Value(json.loads(text), path, cure=cure)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}"
        raise Value(None, path, place, cure).error(f"is not JSON ({error.msg})") from None
    except (ValueError, RecursionError):
        raise Value(None, path, cure=cure).error("is not JSON (numbers or nesting beyond reason)") from None


def read_npz(path: Path, cure: str = MAKE_AGAIN) -> dict[str, Value]:
    """The arrays of a .npz by name; pickled objects and arrays larger than the file says are refused."""
    whole = Value(None, path, cure=cure)
    read_bytes(path, cure)
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                with archive.open(entry) as file:
                    found[name] = whole.at(repr(name), _read_npy(file, entry.file_size, whole.at(repr(name), None)))
    except BROKEN as error:
        raise whole.error(f"cannot be read as .npz ({type(error).__name__})") from None
    return found


def read_npy(path: Path, cure: str = MAKE_AGAIN) -> Value:
    """The array of a .npy. Raises FormatError where it is none, or pickled."""
    whole = Value(None, path, cure=cure)
    size = len(read_bytes(path, cure))
    with open(path, "rb") as file:
        return replace(whole, content=_read_npy(file, size, whole))


def _read_npy(file: IO[bytes] | BufferedIOBase, size: int, where: Value) -> np.ndarray:
    """An array whose header is checked against the bytes that are there before any memory is taken."""
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(file)
    except (*BROKEN, TypeError, SyntaxError, tokenize.TokenError, RecursionError) as error:
        raise where.error(f"cannot be read as an array ({type(error).__name__})") from None
    if dtype.kind not in "iufb":
        raise where.error(f"holds {dtype}, expected plain numbers")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > min(size, LARGEST_ARRAY):
        raise where.error(f"its header promises {_by(shape)} numbers, more than the file holds")
    data = file.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise where.error(f"is cut short: {_by(shape)} numbers were promised")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
