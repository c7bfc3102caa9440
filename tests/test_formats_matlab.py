"""MATLAB's files against SciPy's reader, and files that are broken, of another format, or promise too much."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from maquette.data.errors import FormatError
from maquette.data.formats.matlab import SAVE, read_mat

ARRAYS = {
    "ObsMask": np.random.default_rng(0).random((5, 4, 3)) > 0.5,
    "bytes": np.random.default_rng(1).integers(0, 2, (5, 4, 3)).astype(np.uint8),
    "BB": np.array([[-1.5, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    "Res": 0.5,
    "P": np.random.default_rng(2).normal(size=(4, 1)),
    "empty": np.zeros((0, 3)),
}
ARRAYS |= {kind: np.arange(21).reshape(3, 7).astype(kind) for kind in ("i1", "i2", "u2", "i4", "u4", "f4")}
OTHERS = {"text": "hello", "cell": np.array([1, "a"], object), "struct": {"a": 1}, "complex": np.array([[1j]])}


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def packed(content: bytes) -> bytes:
    short = zlib.compress(content)
    return struct.pack("<II", 15, len(short)) + short


def matrix(name: bytes, sides: tuple[int, ...], numbers: bytes, flags: tuple[int, int] = (6, 0)) -> bytes:
    """A matrix; `numbers` is the element of its real part. The flags' first byte is the class, 6 a double."""
    parts = element(6, struct.pack("<II", *flags)) + element(5, struct.pack(f"<{len(sides)}i", *sides))
    return element(14, parts + element(1, name) + numbers)


def write(path: Path, *elements: bytes) -> Path:
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(elements))
    return path


@pytest.mark.parametrize("small", [False, True])
def test_arrays_are_those_that_scipy_reads_and_other_kinds_are_left_out(tmp_path, small):
    path = tmp_path / "a.mat"
    savemat(path, ARRAYS | OTHERS, do_compression=small)
    read, theirs = read_mat(path).record(), loadmat(path)
    assert set(read) == set(ARRAYS)
    for name, array in read.items():
        np.testing.assert_array_equal(array, theirs[name])
        assert array.dtype == theirs[name].dtype


def test_doubles_that_matlab_stores_as_bytes_are_the_same_numbers(tmp_path):
    """MATLAB stores whole numbers small, whatever their class; and a few bytes inside of the tag."""
    ten = struct.pack("<HH", 2, 1) + b"\x0a\0\0\0"
    path = write(
        tmp_path / "a.mat", matrix(b"Res", (1, 1), ten), matrix(b"BB", (2, 3), element(2, bytes(range(6))))
    )
    assert read_mat(path).key("Res").array(1, 1).tolist() == [[10.0]]
    assert read_mat(path).key("BB").array(2, 3).tolist() == [[0, 2, 4], [1, 3, 5]]
    np.testing.assert_array_equal(read_mat(path).record()["BB"], loadmat(path)["BB"])


def test_other_formats_are_named_with_what_to_do(tmp_path):
    path = tmp_path / "a.mat"
    for header in (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(header + b"\0" * 600)
        with pytest.raises(FormatError, match=r"version 7\.3 \(HDF5\)\. Save it in MATLAB with `save -v7`"):
            read_mat(path)
    savemat(path, {"P": np.eye(2)}, format="4")
    big_endian = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    for content in (path.read_bytes(), big_endian, b"nothing", b""):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="no header of version 5 to 7, little endian") as caught:
            read_mat(path)
        assert caught.value.cure == SAVE


def test_what_a_header_promises_is_not_trusted(tmp_path):
    path, numbers = tmp_path / "a.mat", element(9, np.zeros(4).tobytes())
    good = matrix(b"P", (4, 1), numbers)
    spoilt = {
        "an element promises 4294967295 bytes": struct.pack("<II", 14, 2**32 - 1) + good,
        "an element begins and does not end": good + b"\0" * 4,
        "a small element promises 9 bytes": matrix(b"P", (4, 1), struct.pack("<HH", 2, 9) + b"\0" * 4),
        r"'P': holds 4 numbers, its sides are \[2147483647, 2147483647\]": matrix(b"P", (2**31 - 1,) * 2, numbers),
        r"'P': holds 4 numbers, its sides are \[-2, -2\]": matrix(b"P", (-2, -2), numbers),
        "make no whole number of <f8": matrix(b"P", (4, 1), element(9, b"\0" * 9)),
        "a part of the matrix is missing": matrix(b"P", (4, 1), b""),
        "holds type 14, expected numbers": matrix(b"P", (4, 1), good),
        "of type 6, expected a matrix": element(6, b"\0" * 8),
        "promises 64 bytes, and others were packed": packed(struct.pack("<II", 14, 64) + b"\0" * 10**6),
        "promises 4294967295 bytes, at most": packed(b"\x0e\0\0\0" + b"\xff" * 4),
        "cannot be unpacked": element(15, b"nothing"),
        "cannot be unpacked .unpack requires": packed(b"abc"),
        "of type 15, expected a matrix": packed(packed(good)),
    }
    for problem, elements in spoilt.items():
        with pytest.raises(FormatError, match=problem) as caught:
            read_mat(write(path, elements))
        assert caught.value.place.startswith("byte ")


@pytest.mark.parametrize("small", [False, True])
def test_flipped_bytes_and_cut_files_give_arrays_or_a_format_error(tmp_path, small):
    path, rng = tmp_path / "a.mat", np.random.default_rng(0)
    savemat(path, ARRAYS | OTHERS, do_compression=small)
    sound, refused = path.read_bytes(), 0
    for count in range(600):
        spoilt = bytearray(sound[: rng.integers(len(sound))] if count % 4 == 0 else sound)
        for _ in range(rng.integers(1, 5) if count % 4 else 0):
            spoilt[rng.integers(len(spoilt))] = rng.integers(256)
        path.write_bytes(spoilt)
        try:
            assert all(isinstance(array, np.ndarray) for array in read_mat(path).record().values())
        except FormatError:
            refused += 1
    assert 150 < refused < 600
