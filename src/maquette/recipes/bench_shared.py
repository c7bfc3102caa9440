"""Which scenes DORec's means are over, and which of those on disk they are."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from maquette.recipes.bench_finders import YCBV_SCENES, Scene
from maquette.recipes.bench_rows import Row, means

ONEPOSE: Mapping[str, int] = {"0413-juliecookies-box": 3, "0414-babydiapers-others": 1, "0415-captaincup-others": 3}
"""DORec's Table VIII: object -> sequence."""


@dataclass(frozen=True)
class Printed:
    """The scenes of a data set that DORec's means are over: how many, which in words, whether one is of them."""

    count: int
    which: str
    fits: Callable[[Scene], bool]


def note_of(title: str, chosen: list[Scene]) -> str:
    """What of DORec's is on disk, for the head of a table."""
    printed = PRINTED[title]
    theirs = [scene.name for scene in chosen if printed.fits(scene)]
    scenes = "1 scene" if printed.count == 1 else f"{printed.count} scenes"
    said = f"DORec's figures are of {scenes}: {printed.which}."
    if not theirs:
        return f"{said} None of ours is known to be one, so their means are of different scenes."
    if len(theirs) == printed.count == len(chosen):
        return f"{said} Ours are the same."
    also = "" if len(theirs) == len(chosen) else "; their mean, not that of all, is to be held against DORec's"
    return f"{said} Here {len(theirs)} of these: {', '.join(theirs)}{also}."


def mean_of_shared(title: str, scenes: list[Scene], rows: list[Row]) -> Row | None:
    """The mean over the rows of DORec's scenes (`rows` in the order of `scenes`, maybe fewer) that did not fail;
    None where these are all or none."""
    printed, done = PRINTED[title], [row for row in rows if not row.failure]
    shared = [row for scene, row in zip(scenes, rows, strict=False) if printed.fits(scene) and not row.failure]
    if not shared or len(shared) == len(done):
        return None
    return Row(f"DORec's scenes, {len(shared)} of {printed.count}", means(shared))


def _ends_in(*words: str) -> Callable[[Scene], bool]:
    """Whether the last word of a scene's folder is one of these, as in tat_training_Truck and bmvs_bear."""
    return lambda scene: re.split(r"[^a-z0-9]", scene.source.resolve().name.lower())[-1] in words


def _in_table_eight(scene: Scene) -> bool:
    place = scene.source.resolve()
    return any(
        part in ONEPOSE and place.name.endswith(f"-{ONEPOSE[part]}") for part in (p.name for p in place.parents)
    )


def _in_table_nine(scene: Scene) -> bool:
    pair = None if scene.object_id is None else YCBV_SCENES.get(scene.object_id)
    return pair is not None and scene.source.resolve().name == f"{pair:06d}"


def _never(scene: Scene) -> bool:
    return False


PRINTED: Mapping[str, Printed] = {
    "DTU": Printed(1, "a scan that it does not name", _never),
    "BlendedMVS": Printed(
        4, "Bear, Stone, Gundam and one that it does not name", _ends_in("bear", "stone", "gundam")
    ),
    "Tanks and Temples": Printed(1, "Truck", _ends_in("truck")),
    "OnePose": Printed(3, ", ".join(f"{name} {number}" for name, number in ONEPOSE.items()), _in_table_eight),
    "YCB-Video": Printed(
        6,
        f"{', '.join(f'object {k} in {scene}' for k, scene in YCBV_SCENES.items())}, and one that it does not name",
        _in_table_nine,
    ),
    "Real captures": Printed(2, "two bottles that it photographed itself", _never),
}
