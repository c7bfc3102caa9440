"""BOP's results file: one row an estimate, `scene_id,im_id,obj_id,score,R,t,time`.

R is the rotation of cam_from_obj row by row, t its translation in BOP's millimetres (metres everywhere else
here); both are separated by spaces. Source: BOP toolkit, docs/bop_challenge_2019.md.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maquette.data.errors import InputError
from maquette.geometry.transforms import Matrix4, rigid

HEADER = ("scene_id", "im_id", "obj_id", "score", "R", "t", "time")


@dataclass(frozen=True)
class BopResult:
    """One estimate. `cam_from_obj` is rigid, in metres; `seconds` are of the whole photo, -1 where unknown."""

    scene_id: int
    im_id: int
    obj_id: int
    score: float
    cam_from_obj: Matrix4
    seconds: float


def write_results(path: Path, results: list[BopResult], metres_per_unit: float = 1.0) -> None:
    """Write a results file, beside and renamed. `metres_per_unit` 0.001 writes translations as they are."""
    beside = path.with_name(f".{path.name}.partial")
    with open(beside, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for result in results:
            rotation = " ".join(repr(float(v)) for v in result.cam_from_obj[:3, :3].ravel())
            translation = " ".join(repr(float(v) * 1000 * metres_per_unit) for v in result.cam_from_obj[:3, 3])
            ids = (result.scene_id, result.im_id, result.obj_id)
            writer.writerow([*ids, repr(result.score), rotation, translation, repr(result.seconds)])
    os.replace(beside, path)


def read_results(path: Path) -> list[BopResult]:
    """The estimates of a results file, with or without its header. Raises InputError that names the line."""
    if not path.exists():
        raise InputError(f"{path} is missing")
    results = []
    with open(path, newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or tuple(row) == HEADER:
                continue
            try:
                results.append(_parse(row))
            except ValueError as error:
                raise InputError(
                    f"{path}, line {number}: {error}; expected {','.join(HEADER)} with 9 numbers in R and 3 in t"
                ) from None
    return results


def _parse(row: list[str]) -> BopResult:
    if len(row) != len(HEADER):
        raise ValueError(f"{len(row)} columns instead of {len(HEADER)}")
    scene_id, im_id, obj_id = (int(value) for value in row[:3])
    rotation = np.array(row[4].split(), float).reshape(3, 3)
    translation = np.array(row[5].split(), float).reshape(3) / 1000
    return BopResult(scene_id, im_id, obj_id, float(row[3]), rigid(rotation, translation), float(row[6]))
