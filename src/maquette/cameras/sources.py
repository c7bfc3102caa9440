"""What a SOURCE is: a folder of photos, a video, or a capture whose cameras are known already."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maquette.cameras.video import VIDEO_SUFFIXES
from maquette.data.errors import InputError
from maquette.data.formats import neus
from maquette.data.formats.colmap import ColmapModel
from maquette.data.formats.given import GivenCapture
from maquette.data.formats.readers import Format, find_format, read_capture
from maquette.data.images import PHOTO_SUFFIXES, list_photos, read_photo
from maquette.data.progress import say
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4

Kind = Literal["photos", "video"] | Format
FormatChoice = Literal["photos"] | Format
PHOTO_FOLDERS = ("photos", "images", "image", "rgb")
MASK_FOLDERS = ("masks", "mask_visib", "mask")


@dataclass(frozen=True)
class Posed:
    """Cameras that came with the photos, by photo name; `metric` says that their world is in metres.

    `held_out` are the photos that the source itself keeps for scoring.
    """

    lenses: dict[str, Lens]
    cam_from_world: dict[str, Matrix4]
    metric: bool = False
    sphere: Sphere | None = None
    model: ColmapModel | None = None
    held_out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PhotoFile:
    """A photo where it lies, and the file name under which the workspace knows it.

    `below` is its path in the source's folder of photos (`left/0003.jpg`), by which COLMAP calls photos and masks.
    """

    name: str
    path: Path
    below: str = ""

    @property
    def stem(self) -> str:
        return Path(self.name).stem


@dataclass(frozen=True)
class Source:
    """What was found. `photos` are sorted by name; of a video there are none yet. `masks` go by stem."""

    root: Path
    kind: Kind
    photos: tuple[PhotoFile, ...] = ()
    video: Path | None = None
    masks: Path | None = None
    truth: Path | None = None
    given: GivenCapture | None = None

    def inputs(self, chosen: tuple[PhotoFile, ...]) -> dict[str, Path]:
        """What a result depends on, for the stage's hashes: the chosen photos or the video, and what came along."""
        found = {f"photo {photo.name}": photo.path for photo in chosen}
        others = {"video": self.video, "masks": self.masks, "truth": self.truth}
        found |= {name: path for name, path in others.items() if path is not None}
        if self.given is not None:
            found |= {f"cameras {path.name}": path for path in self.given.files}
            names = {photo.name for photo in chosen}
            for photo in self.given.photos:
                if photo.mask is not None and self.masks is None and photo.name in names:
                    found[f"mask of {photo.name}"] = photo.mask.path
                if photo.ignore is not None and photo.name in names:
                    found[f"ignored of {photo.name}"] = photo.ignore.path
        return found


def find_source(source: Path, name: FormatChoice | None = None, object_id: int | None = None) -> Source:
    """Look at a path. Raises InputError where there is nothing to reconstruct from.

    `name` says the format, and `object_id` the object, where looking is not enough.
    """
    form = find_format(source) if name is None else None if name == "photos" else name
    if not source.exists() and form is None:
        raise InputError(f"{source} does not exist; give a folder of photos, a video or a posed capture.")
    if source.is_file() and form is None:
        if source.suffix.lower() in PHOTO_SUFFIXES:
            raise InputError(f"{source} is one photo; give the folder of all photos of the object, or a video.")
        return Source(source, "video", video=source)
    truth = source / "truth.json"
    masks = next((source / folder for folder in MASK_FOLDERS if (source / folder).is_dir()), None)
    true = truth if truth.exists() else None
    if form is None:
        if masks is not None and neus.find(source) and neus.lacks_masks(source):
            say(f"  {source}: {neus.UNMASKED}")
            masks = None
        photos = tuple(PhotoFile(path.name, path, path.name) for path in _photos_of(source))
        return Source(source, "photos", photos, None, masks, true)
    given = read_capture(source, form, object_id)
    if form in ("bop", "neus") or any(photo.mask or photo.ignore for photo in given.photos):
        masks = None  # the reader knows whose masks they are, and whether white or black is meant
    video = next((photo.path for photo in given.photos if photo.frame_idx is not None), None)
    files = (PhotoFile(photo.name, photo.path, _below(source, photo.path)) for photo in given.photos)
    photos = () if video else tuple(files)
    return Source(source, form, photos, video, masks, true, given)


def check_names(photos: tuple[PhotoFile, ...]) -> None:
    """Raises InputError where two photos differ only in their ending: masks and renders go by the stem."""
    count = Counter(photo.stem for photo in photos)
    for photo in photos:
        if count[photo.stem] > 1:
            same = ", ".join(sorted(p.name for p in photos if p.stem == photo.stem))
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


def posed_of(given: GivenCapture | None) -> Posed | None:
    """The cameras that came with a source by photo name, None for plain photos and videos."""
    if given is None:
        return None
    known = {photo.name: photo for photo in given.posed if photo.lens is not None}
    return Posed(
        {name: photo.lens for name, photo in known.items() if photo.lens is not None},
        {name: photo.cam_from_world for name, photo in known.items() if photo.cam_from_world is not None},
        given.metric,
        given.sphere,
        given.model,
        frozenset(photo.name for photo in given.photos if photo.held_out),
    )


def _below(source: Path, photo: Path) -> str:
    if not photo.is_relative_to(source):
        return photo.name
    parts = photo.relative_to(source).parts
    return "/".join(parts[1:] if len(parts) > 1 and parts[0] in (*PHOTO_FOLDERS, "input") else parts)


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
