"""Which scenes of DORec's data sets are in a folder: where each lies, in whose format, and of which object."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from maquette.data.errors import InputError
from maquette.data.formats import nerfpp, neus, onepose
from maquette.data.formats.bop_dataset import models_folder
from maquette.data.formats.bop_scene import read_object_ids
from maquette.data.formats.readers import Format
from maquette.data.formats.splits import Rule
from maquette.data.images import list_photos

DEPTH = 4
"""Folders that are looked into below the data set's own."""
MADE = ("pbr", "synt")
YCBV_SCENES: Mapping[int, int] = {2: 7, 3: 49, 5: 37, 7: 2, 12: 36}
"""DORec's Table IX: object -> scene, by BOP's numbers (cracker box, sugar box, mustard, pudding box, cleanser)."""


@dataclass(frozen=True)
class Scene:
    """One capture. `form` None: plain photos. `models` is the folder of a BOP data set's models."""

    name: str
    source: Path
    form: Format | None
    object_id: int | None = None
    models: Path | None = None


@dataclass(frozen=True)
class Protocol:
    """How DORec uses one data set; `rule` None: the data set's own split; `why` tells what is not as published."""

    title: str
    find: Callable[[Path], list[Scene]]
    rule: Rule | None
    cameras: str
    why: str = ""


def find_scenes(protocol: Protocol, data: Path, chosen: tuple[str, ...]) -> list[Scene]:
    """The scenes that are there and were asked for, by name or object. Raises InputError where one of them is not,
    or where none is there at all."""
    if not data.is_dir():
        raise InputError(f"--data {data} is not a folder; give the one that holds {protocol.title}")
    there = _named_apart(protocol.find(data), data)
    if not there:
        raise InputError(
            f"{data} holds no scene of {protocol.title}, nor do its folders; docs/formats.md says what a scene is"
        )
    known = {name for scene in there for name in (scene.name, str(scene.object_id))}
    if absent := [name for name in chosen if name not in known]:
        names = ", ".join(scene.name for scene in there)
        raise InputError(f"--objects {' '.join(absent)}: not in {data}; there are {names}")
    return [s for s in there if not chosen or s.name in chosen or str(s.object_id) in chosen]


def _named_apart(scenes: list[Scene], data: Path) -> list[Scene]:
    """Scenes of one name by their folders' names too: each has a workspace of its own."""
    names = Counter(scene.name for scene in scenes)
    return [replace(s, name="_".join(s.source.relative_to(data).parts)) if names[s.name] > 1 else s for s in scenes]


def _neus(data: Path) -> list[Scene]:
    return [Scene(place.resolve().name, place, "neus") for place in _folders(data, neus.find)]


def _tanks(data: Path) -> list[Scene]:
    places = _folders(data, lambda place: any((place / name / "pose").is_dir() for name in nerfpp.SPLITS))
    return [Scene(place.resolve().name, place, "nerfpp") for place in places]


def _onepose(data: Path) -> list[Scene]:
    return [Scene(place.resolve().name, place, "onepose") for place in _folders(data, onepose.find)]


def _real(data: Path) -> list[Scene]:
    return [Scene(place.resolve().name, place, None) for place in _folders(data, _has_photos)]


def _ycbv(data: Path) -> list[Scene]:
    """DORec's objects in their scenes; where there are none, each object in the scene that shows it most."""
    places = {p.parent for pattern in ("*/", "*/*/") for p in data.glob(f"{pattern}scene_gt.json")}
    # Splits of made photos (train_pbr, train_synt) number their scenes as those of real ones do.
    places = {place for place in places if not any(word in place.parent.name for word in MADE)}
    if (data / "scene_gt.json").exists():
        places.add(data)
    shown: dict[int, dict[Path, int]] = {}
    for place in sorted(places):
        for obj_ids in read_object_ids(place / "scene_gt.json").values():
            for obj_id in set(obj_ids):
                photos = shown.setdefault(obj_id, {})
                photos[place] = photos.get(place, 0) + 1
    theirs = {k: p for k, s in YCBV_SCENES.items() for p in shown.get(k, {}) if p.name == f"{s:06d}"}
    pairs = theirs or {k: max(photos, key=lambda place: photos[place]) for k, photos in shown.items()}
    models = models_folder(data)
    return [
        Scene(f"obj_{k:06d}", place, "bop", k, models if models.is_dir() else None)
        for k, place in sorted(pairs.items())
    ]


def _has_photos(place: Path) -> bool:
    return (place / "photos").is_dir() or (place / "images").is_dir() or bool(list_photos(place))


def _folders(data: Path, fits: Callable[[Path], bool]) -> list[Path]:
    """The folders that fit, `data` itself first; what lies inside of one that fits is its own."""
    found, level = [], [data]
    for _ in range(DEPTH):
        found += [place for place in level if fits(place)]
        deeper = [place for place in level if place not in found]
        level = [sub for place in deeper for sub in sorted(place.iterdir()) if sub.is_dir() and sub.name[0] != "."]
    return found


PROTOCOLS: Mapping[str, Protocol] = {
    "dtu": Protocol(
        "DTU", _neus, "dorec-blendedmvs", "given", "DORec prints no split of DTU: that of BlendedMVS is used."
    ),
    "blendedmvs": Protocol("BlendedMVS", _neus, "dorec-blendedmvs", "given"),
    "tanks": Protocol("Tanks and Temples", _tanks, None, "given"),
    "onepose": Protocol("OnePose", _onepose, "dorec-onepose", "given"),
    "ycbv": Protocol("YCB-Video", _ycbv, "dorec-ycbv", "found"),
    "real": Protocol("Real captures", _real, "dorec-real", "found"),
}
