"""BOP's `models_info.json`: diameter, box and symmetries of each object. Millimetres in the file, metres here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from maquette.data.formats.bop import MM
from maquette.data.formats.door import Value, read_json_value
from maquette.data.formats.geometry import check_object_size, rigid_of_value
from maquette.data.jsonio import write_json
from maquette.geometry.transforms import Matrix4, rigid

FILE_NAME = "models_info.json"
CURE = "copy it again; expected BOP's models_info.json"


@dataclass(frozen=True)
class ContinuousSymmetry:
    """Any turn about `axis` (a unit vector) through `offset` (metres) leaves the object as it was."""

    axis: tuple[float, float, float]
    offset: tuple[float, float, float]


@dataclass(frozen=True)
class BopModel:
    """One object; metres. `symmetries_discrete` are obj_from_obj without the identity."""

    obj_id: int
    diameter: float
    corner: tuple[float, float, float]
    """The least x, y, z of its box."""
    size: tuple[float, float, float]
    symmetries_discrete: tuple[Matrix4, ...] = ()
    symmetries_continuous: tuple[ContinuousSymmetry, ...] = ()


def read_models(folder: Path) -> dict[int, BopModel]:
    """The objects of a `models/` or `models_eval/` folder by id. Raises FormatError for what does not fit."""
    models: dict[int, BopModel] = {}
    for key, value in read_json_value(folder / FILE_NAME, CURE).items():
        obj_id = value.at("the object's id", key).whole(most=2**31)
        models[obj_id] = _model(obj_id, value)
    return models


def model_file(folder: Path, obj_id: int) -> Path:
    """The mesh of an object, in millimetres. Raises FormatError where it is not there."""
    path = folder / f"obj_{obj_id:06d}.ply"
    if not path.is_file():
        raise Value(None, path, cure="copy the object's model beside models_info.json").error("is missing")
    return path


def check_mesh(path: Path, extents: Sequence[float], model: BopModel) -> None:
    """Raises FormatError where a mesh of these extents, as its file has them, is not what models_info.json says."""
    metres = max(extents) * MM
    if 0.5 < metres / max(model.size) < 2:
        return
    question = ": is this mesh in metres?" if 0.5 < metres / MM / max(model.size) < 2 else ""
    raise Value(None, path, "its vertices", "BOP's meshes are in millimetres: export it again").error(
        f"measure {metres:.4g} m, {FILE_NAME} says {max(model.size):.4g} m{question}"
    )


def _model(obj_id: int, value: Value) -> BopModel:
    diameter = value.key("diameter")
    check_object_size(diameter, diameter.number(above=0.0), "millimetres", MM)
    corner = [value.key(f"min_{axis}").number() * MM for axis in "xyz"]
    size = [value.key(f"size_{axis}").number(above=0.0) * MM for axis in "xyz"]
    metres = diameter.number() * MM
    if not 0.5 * max(size) < metres < 1.05 * sum(s * s for s in size) ** 0.5 + 1e-9:
        raise diameter.error(
            f"is {metres:.4g} m, but the box measures {size[0]:.4g} x {size[1]:.4g} x {size[2]:.4g} m",
            "make models_info.json again with the BOP toolkit",
        )
    discrete = value.get("symmetries_discrete")
    continuous = value.get("symmetries_continuous")
    return BopModel(
        obj_id,
        metres,
        (corner[0], corner[1], corner[2]),
        (size[0], size[1], size[2]),
        tuple(_discrete(item) for item in discrete.each("symmetry")) if discrete else (),
        tuple(_continuous(item) for item in continuous.each("symmetry")) if continuous else (),
    )


def _discrete(value: Value) -> Matrix4:
    obj_from_obj = rigid_of_value(value)
    return rigid(obj_from_obj[:3, :3], obj_from_obj[:3, 3] * MM)


def _continuous(value: Value) -> ContinuousSymmetry:
    axis = value.key("axis").array(3)
    length = float(np.linalg.norm(axis))
    if length < 1e-6:
        raise value.key("axis").error("has no length")
    offset = value.get("offset")
    shift = np.zeros(3) if offset is None else offset.array(3) * MM
    return ContinuousSymmetry(_three(axis / length), _three(shift))


def _three(values: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def write_models(folder: Path, models: list[BopModel]) -> None:
    """Write models_info.json."""
    record = {}
    for model in models:
        boxes = zip("xyz", model.corner, model.size, strict=True)
        sides = [(f"min_{a}", low / MM, f"size_{a}", size / MM) for a, low, size in boxes]
        entry: dict[str, object] = {"diameter": model.diameter / MM}
        entry |= {name: low for name, low, _, _ in sides} | {name: size for _, _, name, size in sides}
        if model.symmetries_discrete:
            entry["symmetries_discrete"] = [_in_mm(s).ravel() for s in model.symmetries_discrete]
        if model.symmetries_continuous:
            entry["symmetries_continuous"] = [
                {"axis": s.axis, "offset": [v / MM for v in s.offset]} for s in model.symmetries_continuous
            ]
        record[str(model.obj_id)] = entry
    write_json(folder / FILE_NAME, record)


def _in_mm(obj_from_obj: Matrix4) -> Matrix4:
    return rigid(obj_from_obj[:3, :3], obj_from_obj[:3, 3] / MM)
