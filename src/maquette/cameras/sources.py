"""What a SOURCE is: a folder of photos, a video, or a capture whose cameras are known already."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maquette.cameras.video import VIDEO_SUFFIXES
from maquette.data.errors import InputError
from maquette.data.formats import colmap, keyframes, neus
from maquette.data.images import PHOTO_SUFFIXES, list_photos, read_photo
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4

Kind = Literal["photos", "video", "colmap", "neus", "keyframes"]
PHOTO_FOLDERS = ("photos", "images", "image", "rgb")
MASK_FOLDERS = ("masks", "mask_visib", "mask")


@dataclass(frozen=True)
class Posed:
    """Cameras that came with the photos, by photo name; `metric` says that their world is in metres."""

    lenses: dict[str, Lens]
    cam_from_world: dict[str, Matrix4]
    metric: bool = False
    sphere: Sphere | None = None
    model: colmap.ColmapModel | None = None


@dataclass(frozen=True)
class Source:
    """What was found. `photos` are sorted by name; of a video there are none yet. `masks` go by stem."""

    root: Path
    kind: Kind
    photos: tuple[Path, ...] = ()
    video: Path | None = None
    poses: Path | None = None
    masks: Path | None = None
    truth: Path | None = None

    def inputs(self, chosen: tuple[Path, ...]) -> dict[str, Path]:
        """What a result depends on, for the stage's hashes: the chosen photos or the video, and what came along."""
        found = {f"photo {path.name}": path for path in chosen}
        others = {"video": self.video, "poses": self.poses, "masks": self.masks, "truth": self.truth}
        return found | {name: path for name, path in others.items() if path is not None}


def find_source(source: Path) -> Source:
    """Look at a path. Raises InputError where there is nothing to reconstruct from."""
    if not source.exists():
        raise InputError(f"{source} does not exist; give a folder of photos, a video or a posed capture.")
    if source.is_file():
        if source.suffix.lower() in PHOTO_SUFFIXES:
            raise InputError(f"{source} is one photo; give the folder of all photos of the object, or a video.")
        return Source(source, "video", video=source)
    photos = _photos_of(source)
    truth = source / "truth.json"
    kind, poses = _poses_of(source)
    masks = next((source / name for name in MASK_FOLDERS if (source / name).is_dir()), None)
    return Source(source, kind, photos, None, poses, masks, truth if truth.exists() else None)


def select(photos: tuple[Path, ...], frames: str | None) -> tuple[Path, ...]:
    """The slice A:B:C of the photos. Raises InputError for something that is no slice or leaves nothing."""
    if frames is None:
        return photos
    try:
        parts = [int(part) if part.strip() else None for part in frames.split(":")]
        if not 2 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] is not None and parts[2] < 1):
            raise ValueError
    except ValueError:
        raise InputError(
            f"--frames {frames!r} is not a slice; write START:STOP or START:STOP:STEP, as in 0:80:2."
        ) from None
    chosen = photos[slice(*parts)]
    if not chosen:
        raise InputError(f"--frames {frames} leaves none of the {len(photos)} photos.")
    return chosen


def check_names(photos: tuple[Path, ...]) -> None:
    """Raises InputError where two photos differ only in their ending: masks and renders go by the stem."""
    count = Counter(path.stem for path in photos)
    for path in photos:
        if count[path.stem] > 1:
            same = ", ".join(sorted(p.name for p in photos if p.stem == path.stem))
            raise InputError(f"{same} have one name and differ only in the ending; rename or remove all but one.")


def check_photos(photos: tuple[Path, ...]) -> dict[str, tuple[int, int]]:
    """(width, height) as displayed, by name. Raises one InputError that names every photo that cannot be read."""
    sizes, broken = {}, []
    for path in photos:
        try:
            height, width = read_photo(path).shape[:2]
            sizes[path.name] = (width, height)
        except InputError as error:
            broken.append(str(error))
    if broken:
        head = f"{len(broken)} of {len(photos)} photos cannot be read:" if len(broken) > 1 else ""
        raise InputError("\n".join([*([head] if head else []), *broken]))
    return sizes


def read_poses(source: Source, sizes: dict[str, tuple[int, int]]) -> Posed | None:
    """The cameras that came with a source, None for plain photos and videos; `sizes` of all photos as displayed."""
    if source.poses is None:
        return None
    if source.kind == "neus":
        names = [path.name for path in source.photos]
        views, sphere = neus.read_neus(source.poses, [sizes[name] for name in names])
        lenses = {names[v.index]: v.lens for v in views}
        return Posed(lenses, {names[v.index]: v.cam_from_world for v in views}, sphere=sphere)
    if source.kind == "keyframes":
        lens, poses = keyframes.read_keyframes(source.poses)
        by_name = {path.name: poses[path.stem] for path in source.photos if path.stem in poses}
        return Posed(dict.fromkeys(by_name, lens), by_name, metric=True)
    model = colmap.read_model(source.poses)
    by_name = {Path(image.name).name: image for image in model.images.values()}
    lenses = {name: model.cameras[image.camera_id] for name, image in by_name.items()}
    return Posed(lenses, {name: image.cam_from_world for name, image in by_name.items()}, model=model)


def _poses_of(source: Path) -> tuple[Kind, Path | None]:
    if (source / keyframes.FILE_NAME).exists():
        return "keyframes", source / keyframes.FILE_NAME
    if (source / neus.FILE_NAME).exists():
        return "neus", source / neus.FILE_NAME
    model = colmap.find_model(source)
    return ("colmap", model) if model else ("photos", None)


def _photos_of(source: Path) -> tuple[Path, ...]:
    for folder in (source, *(source / name for name in PHOTO_FOLDERS)):
        if folder.is_dir() and (photos := list_photos(folder)):
            return tuple(photos)
    files = sorted(p for p in source.iterdir() if p.is_file() and not p.name.startswith("."))
    videos = [p.name for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
    hint = f" It holds a video: give {source / videos[0]} itself." if videos else ""
    others = Counter(p.suffix.lower() or "no ending" for p in files)
    found = ", ".join(f"{n} x {end}" for end, n in others.most_common(4)) or "no files"
    raise InputError(
        f"no photos in {source} (nor in its {'/, '.join(PHOTO_FOLDERS)}/); found {found}. "
        f"Photos end in {', '.join(PHOTO_SUFFIXES)}; convert others first.{hint}"
    )
