"""BOP's results file: one row an estimate, `scene_id,im_id,obj_id,score,R,t,time`.

R is the rotation of cam_from_obj row by row, t its translation in BOP's millimetres (metres everywhere else
here); both are separated by spaces. Source: BOP toolkit, docs/bop_challenge_2019.md.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from maquette.data.formats.door import Value, read_text, row_of
from maquette.data.formats.geometry import rigid_of_parts
from maquette.geometry.transforms import Matrix4

HEADER = ("scene_id", "im_id", "obj_id", "score", "R", "t", "time")
CURE = f"expected {','.join(HEADER)} with 9 numbers in R and 3 in t, in millimetres"
MM = 0.001


@dataclass(frozen=True)
class BopResult:
    """One estimate. `cam_from_obj` is rigid, in metres; `seconds` are of the whole photo, -1 where unknown."""

    scene_id: int
    im_id: int
    obj_id: int
    score: float
    cam_from_obj: Matrix4
    seconds: float


def write_results(path: Path, results: Iterable[BopResult], metres_per_unit: float = 1.0) -> None:
    """Write a results file, beside and renamed. `metres_per_unit` 0.001 writes translations as they are."""
    beside = path.with_name(f".{path.name}.partial")
    with open(beside, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for result in results:
            rotation = " ".join(repr(float(v)) for v in result.cam_from_obj[:3, :3].ravel())
            translation = " ".join(repr(float(v) * 1000 * metres_per_unit) for v in result.cam_from_obj[:3, 3])
            ids = (result.scene_id, result.im_id, result.obj_id)
            writer.writerow([*ids, repr(float(result.score)), rotation, translation, repr(float(result.seconds))])
    os.replace(beside, path)


def read_results(path: Path) -> list[BopResult]:
    """The estimates of a results file, with or without its header. Raises FormatError that names the line."""
    whole = Value(None, path, cure=CURE)
    results = []
    for number, line in enumerate(read_text(path, CURE).splitlines(), 1):
        columns = [column.strip().strip('"') for column in line.split(",")]
        if line.strip() and tuple(columns) != HEADER:
            results.append(_parse(whole.at(f"line {number}", line), columns))
    return results


def check_times(path: Path, results: list[BopResult]) -> None:
    """Raises FormatError where the rows of one photo disagree on its time, which BOP's server refuses."""
    times: dict[tuple[int, int], set[float]] = defaultdict(set)
    for result in results:
        times[result.scene_id, result.im_id].add(round(result.seconds, 6))
    for (scene_id, im_id), seconds in times.items():
        if len(seconds) > 1:
            raise Value(None, path, f"scene {scene_id}, image {im_id}").error(
                f"its rows name {len(seconds)} different times", "time is of the whole photo: write one, or -1"
            )


def _parse(row: Value, columns: list[str]) -> BopResult:
    if len(columns) != len(HEADER):
        raise row.error(f"{len(columns)} columns instead of {len(HEADER)}")
    parts = {name: row.at(name, text) for name, text in zip(HEADER, columns, strict=True)}
    rotation = parts["R"].at("numbers", row_of(parts["R"], 9))
    translation = parts["t"].at("numbers", row_of(parts["t"], 3) * MM)
    return BopResult(
        parts["scene_id"].whole(most=2**31),
        parts["im_id"].whole(most=2**31),
        parts["obj_id"].whole(most=2**31),
        parts["score"].number(most=1e30),
        rigid_of_parts(rotation, translation),
        parts["time"].number(),
    )
