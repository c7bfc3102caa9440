"""MATLAB's files of level 5 (`save -v6`, `-v7`): the plain arrays in them, read within the bytes there are.

| part | layout (little endian) |
|---|---|
| file | 116 bytes of text, 8 unused, version 0x0100, `IM`; then elements |
| element | type and size (uint32 each), `size` bytes, filled up to a multiple of 8 |
| small element | type and size (uint16 each) and up to 4 bytes |
| packed element (type 15) | an element by zlib, not filled up |
| matrix (type 14) | elements: flags with the class, sides (int32), name, real part, column by column |

A real part may be stored in a smaller type than its class; that one is kept. Source: MathWorks, MAT-File Format.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maquette.data.formats.door import LARGEST_ARRAY, MAKE_AGAIN, Value, read_bytes

HEADER = 128
TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
MATRIX, PACKED = 14, 15
PLAIN = range(6, 16)
"""The classes of arrays of numbers; before them come cells, structs, objects, texts and sparse matrices."""
COMPLEX = 0x08
LARGEST_RANK = 32
SAVE = "save it in MATLAB with `save -v7` or in SciPy with `savemat`"


@dataclass(frozen=True)
class _Element:
    """One element: its type, its bytes, and its place for messages."""

    kind: int
    data: memoryview
    where: Value


def read_mat(path: Path, cure: str = MAKE_AGAIN) -> Value:
    """The real arrays of numbers and truth values of a file, by name, in the type they are stored in.

    Variables of other kinds are left out. Raises FormatError for a file cut short or of another format.
    """
    data = memoryview(read_bytes(path, cure))
    whole = Value(None, path, cure=cure)
    _check_header(bytes(data[:HEADER]), whole)
    found = {}
    for element in _elements(data[HEADER:], whole, HEADER):
        matrix = _unpacked(element) if element.kind == PACKED else element
        if matrix.kind != MATRIX:
            raise matrix.where.error(f"holds an element of type {matrix.kind}, expected a matrix")
        if (named := _array(matrix)) is not None:
            found[named[0]] = named[1]
    return Value(found, path, cure=cure)


def _check_header(header: bytes, whole: Value) -> None:
    if header.startswith((b"MATLAB 7.3", b"\x89HDF")) or header[124:126] == b"\x00\x02":
        raise whole.error("cannot be read as MATLAB's: version 7.3 (HDF5)", SAVE)
    if len(header) < HEADER or header[124:] != b"\x00\x01IM":
        raise whole.error("cannot be read as MATLAB's: no header of version 5 to 7, little endian", SAVE)


def _elements(data: memoryview, where: Value, start: int = 0) -> Iterator[_Element]:
    """The elements in some bytes, which begin at byte `start` of what `where` is."""
    at = 0
    while at < len(data):
        here = where.at(f"byte {start + at}", None)
        if len(data) - at < 8:
            raise here.error("is cut short: an element begins and does not end")
        kind, size = struct.unpack_from("<II", data, at)
        at += 8
        if kind >> 16:
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise here.error(f"a small element promises {size} bytes, at most 4 fit")
            yield _Element(kind, data[at - 4 : at - 4 + size], here)
            continue
        if size > len(data) - at:
            raise here.error(f"an element promises {size} bytes, {len(data) - at} are there")
        yield _Element(kind, data[at : at + size], here)
        at += size if kind == PACKED else size + -size % 8


def _unpacked(element: _Element) -> _Element:
    """The one element that is packed in another; no more is unpacked than its size says."""
    try:
        first = zlib.decompressobj().decompress(element.data, 8)
        kind, size = struct.unpack("<II", first)
        if size > LARGEST_ARRAY:
            raise element.where.error(f"promises {size} bytes, at most {LARGEST_ARRAY} are read")
        unpack = zlib.decompressobj()
        content = unpack.decompress(element.data, 8 + size + 1)
    except (zlib.error, struct.error) as error:
        raise element.where.error(f"cannot be unpacked ({error})") from None
    if len(content) != 8 + size or not unpack.eof:
        raise element.where.error(f"promises {size} bytes, and others were packed")
    return _Element(kind, memoryview(content)[8:], element.where.at("unpacked", None))


def _array(matrix: _Element) -> tuple[str, np.ndarray] | None:
    """A matrix's name and numbers; None where it is of another kind."""
    parts = _elements(matrix.data, matrix.where)
    flags = _numbers(next(parts, None), matrix.where, "<u4")
    if flags.size != 2:
        raise matrix.where.error(f"a matrix has {flags.size} flags, expected 2")
    if int(flags[0]) & 0xFF not in PLAIN or int(flags[0]) >> 8 & COMPLEX:
        return None
    shape = [int(side) for side in _numbers(next(parts, None), matrix.where, "<i4")]
    name = _numbers(next(parts, None), matrix.where, "i1").tobytes().decode("latin-1")
    where = matrix.where.at(repr(name[:63]), None)
    numbers = _numbers(next(parts, None), where)
    if not 2 <= len(shape) <= LARGEST_RANK or min(shape) < 0 or math.prod(shape) != numbers.size:
        raise where.error(f"holds {numbers.size} numbers, its sides are {shape[:LARGEST_RANK]}")
    return name, numbers.reshape(shape, order="F")


def _numbers(element: _Element | None, where: Value, dtype: str | None = None) -> np.ndarray:
    """An element's numbers, of the one type expected where `dtype` says."""
    if element is None:
        raise where.error("is cut short: a part of the matrix is missing")
    stored = TYPES.get(element.kind)
    if stored is None or (dtype is not None and stored != dtype):
        raise element.where.error(f"holds type {element.kind}, expected {dtype or 'numbers'}")
    if len(element.data) % np.dtype(stored).itemsize:
        raise element.where.error(f"{len(element.data)} bytes make no whole number of {stored}")
    return np.frombuffer(element.data, stored)
