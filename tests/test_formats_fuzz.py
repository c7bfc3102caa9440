"""Malformed files of every format give a FormatError that names file, place and cure, and nothing else."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from maquette.data.errors import FormatError, InputError
from maquette.data.formats import colmap, llff, neus
from maquette.data.formats.door import read_json_value, read_npy, read_npz
from maquette.data.formats.given import GivenCapture, read_depth, read_given_mask
from maquette.data.images import PHOTO_SUFFIXES
from toy_folders import FOLDERS, RECORDS

NASTY_JSON = [
    "null",
    '"x"',
    "[]",
    "{}",
    "NaN",
    "Infinity",
    "1e999",
    "-1",
    "0",
    "1e300",
    "true",
    "[[1]]",
    "1" + "0" * 400,
]
NASTY_JSON += ['"\\ud800"', "0.5", "[1, null]", '"../../nothing"', "1" * 5000, "[" * 3000]
NASTY_TEXT = ["nan", "inf", "-1", "0", "1e300", "x", "", "é", "1e-320", "9" * 400, "1,2", "#"]
NASTY_NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e300, 1e-300]
FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("formats")
    for name, (make, _) in (FOLDERS | RECORDS).items():
        (root / name).mkdir()
        make(root / name)
    return root


@pytest.mark.parametrize("name", FOLDERS | RECORDS)
def test_the_ground_of_the_fuzz_is_sound(folders, name):
    (FOLDERS | RECORDS)[name][1](folders / name)


@pytest.mark.parametrize("name", FOLDERS)
@given(data=st.data())
@FUZZ
def test_a_malformed_file_gives_a_format_error_and_nothing_else(folders, name, data):
    folder, read = folders / name, FOLDERS[name][1]
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".m4v",))
    path = data.draw(st.sampled_from([p for p in files if p.suffix not in PHOTO_SUFFIXES] * 5 + files))
    before = path.read_bytes()
    try:
        path.write_bytes(spoilt(before, path.suffix, data))
        check_reading(read, folder)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
@FUZZ
def test_a_malformed_record_gives_an_input_error_of_one_line_that_names_it(folders, name, data):
    folder, read = folders / name, RECORDS[name][1]
    (path,) = folder.glob("*.json")
    before = path.read_bytes()
    try:
        path.write_bytes(spoilt(before, path.suffix, data))
        read(folder)
    except InputError as error:
        said = str(error)
        assert said.startswith(str(path)) and len(said) < 1000 and "\n" not in said and "again" in said
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_missing_or_empty_file_gives_a_format_error_or_is_not_needed(folders, name):
    folder, read = folders / name, FOLDERS[name][1]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        before = path.read_bytes()
        try:
            path.write_bytes(b"")
            check_reading(read, folder)
        finally:
            path.write_bytes(before)


def check_reading(read, folder: Path) -> None:
    """Either all of it is sound, or the error says where and what to do."""
    try:
        capture = read(folder)
        for photo in capture.photos if isinstance(capture, GivenCapture) else ():
            for mask in (photo.mask, photo.ignore):
                assert mask is None or read_given_mask(mask).ndim == 2
            assert photo.depth is None or np.isfinite(read_depth(photo.depth)).all()
    except FormatError as error:
        assert str(error.path).startswith(str(folder)) and error.place and error.problem and error.cure
        assert len(str(error)) < 2000 and str(error.path) in str(error)
        return
    if isinstance(capture, GivenCapture):
        for photo in capture.posed:
            assert (
                photo.lens is not None
                and photo.lens.value("fx") > 0
                and min(photo.lens.width, photo.lens.height) > 0
            )
            assert np.isfinite(photo.lens.params).all() and np.isfinite(photo.cam_from_world).all()
            rotation = photo.cam_from_world[:3, :3]
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(rotation) > 0


def spoilt(content: bytes, suffix: str, data) -> bytes:
    ways = [cut, flipped, reencoded]
    ways += {".json": [spoilt_json] * 6, ".npz": [spoilt_npz] * 4, ".npy": [spoilt_npy] * 4}.get(suffix, [])
    ways += [spoilt_text] * 4 if suffix in (".txt", ".csv", ".yml") else []
    ways += [spoilt_doubles] * 4 if suffix == ".bin" else []
    ways += [spoilt_mat] * 4 if suffix == ".mat" else []
    return data.draw(st.sampled_from(ways))(content, data)


def cut(content: bytes, data) -> bytes:
    return content[: data.draw(st.integers(0, len(content)))]


def flipped(content: bytes, data) -> bytes:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, max(0, len(changed) - 1)))] = data.draw(st.integers(0, 255))
    return bytes(changed)


def reencoded(content: bytes, data) -> bytes:
    other = data.draw(st.sampled_from(["utf-16", "utf-8-sig", "utf-32"]))
    return content.decode("latin-1").encode(other)


def spoilt_json(content: bytes, data) -> bytes:
    """One value anywhere replaced by a nasty one, or its key gone."""
    tree = json.loads(content)
    mark = "<here>"
    at, places = tree, []
    while isinstance(at, (dict, list)) and len(at):
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        places.append((at, key))
        at = at[key]
    holder, key = data.draw(st.sampled_from(places))
    if data.draw(st.booleans()) and isinstance(holder, dict):
        del holder[key]
        return json.dumps(tree).encode()
    holder[key] = mark
    return json.dumps(tree).replace(f'"{mark}"', data.draw(st.sampled_from(NASTY_JSON))).encode()


def spoilt_text(content: bytes, data) -> bytes:
    """One word replaced or gone, or one line gone or doubled."""
    lines = content.decode().split("\n")
    index = data.draw(st.integers(0, len(lines) - 1))
    if data.draw(st.integers(0, 3)) == 0:
        lines[index : index + 1] = [lines[index]] * data.draw(st.sampled_from([0, 2]))
    else:
        words = lines[index].replace(",", " , ").split(" ")
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.sampled_from(NASTY_TEXT))
        lines[index] = " ".join(words)
    return "\n".join(lines).encode()


def spoilt_doubles(content: bytes, data) -> bytes:
    at = data.draw(st.integers(0, max(0, len(content) - 8)))
    number = data.draw(st.sampled_from(NASTY_NUMBERS))
    nasty = data.draw(
        st.sampled_from([struct.pack("<d", number), struct.pack("<Q", 2**60), b"\xff" * 8, b"\0" * 8])
    )
    return content[:at] + nasty + content[at + 8 :]


def spoilt_npz(content: bytes, data) -> bytes:
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    key = data.draw(st.sampled_from(sorted(arrays)))
    changed = spoilt_array(arrays.pop(key), data)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, **({} if changed is None else {key: changed}))
    return buffer.getvalue()


def spoilt_mat(content: bytes, data) -> bytes:
    arrays = {name: value for name, value in loadmat(io.BytesIO(content)).items() if not name.startswith("__")}
    key = data.draw(st.sampled_from(sorted(arrays)))
    changed = spoilt_array(arrays.pop(key), data)
    buffer = io.BytesIO()
    savemat(buffer, arrays | ({} if changed is None else {key: changed}), do_compression=data.draw(st.booleans()))
    return buffer.getvalue()


def spoilt_npy(content: bytes, data) -> bytes:
    changed = spoilt_array(np.load(io.BytesIO(content)), data)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(0) if changed is None else changed)
    return buffer.getvalue()


def spoilt_array(array: np.ndarray, data) -> np.ndarray | None:
    """One nasty number, another shape, or another type; None: gone."""
    flat = array.astype(float if array.dtype.kind in "iu" else array.dtype).ravel()
    flat[data.draw(st.integers(0, flat.size - 1))] = data.draw(st.sampled_from(NASTY_NUMBERS))
    ways = [
        flat.reshape(array.shape),
        array[:-1],
        array.ravel(),
        array.astype(object),
        array.astype(str),
        array * 0,
        None,
    ]
    return data.draw(st.sampled_from([ways[0]] * 3 + ways))


def test_pickled_arrays_are_refused_unopened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('unpickled')",))

    np.save(tmp_path / "a.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(FormatError, match="holds object, expected plain numbers"):
        read_npy(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", a=np.array([Bomb()], object))
    with pytest.raises(FormatError, match="'a': holds object"):
        read_npz(tmp_path / "a.npz")


def test_headers_and_counts_that_promise_more_than_the_file_holds_take_no_memory(tmp_path):
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    with open(tmp_path / llff.FILE_NAME, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(FormatError, match="its header promises 1000000 x 1000000 numbers"):
        read_npy(tmp_path / llff.FILE_NAME)
    with zipfile.ZipFile(tmp_path / neus.FILE_NAME, "w") as archive:
        archive.write(tmp_path / llff.FILE_NAME, "world_mat_0.npy")
    with pytest.raises(FormatError, match="'world_mat_0': its header promises"):
        read_npz(tmp_path / neus.FILE_NAME)
    for name in ("cameras", "images", "points3D"):
        (tmp_path / f"{name}.bin").write_bytes(struct.pack("<Q", 2**60) + b"\0" * 40)
    with pytest.raises(FormatError, match=r"cameras\.bin, .*byte \d+"):
        colmap.read_model(tmp_path)


def test_json_beyond_reason_is_refused(tmp_path):
    for content in ("[" * 100_000, "1" * 10_000, '{"a": 1', "\ufffe"):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(FormatError, match="is not JSON"):
            read_json_value(tmp_path / "a.json")


def test_a_folder_in_a_file_s_place_is_named(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(FormatError, match="is a folder, expected a file"):
        read_json_value(tmp_path / "a.json")
