"""BOP's scenes: photos, cameras, object poses, visibility and masks of one folder (`test/000002`, `train/000001`).

`rgb/` or `gray/` (`IM6.png` or .jpg), `depth/`, `mask/` and `mask_visib/` (`IM6_GT6.png`), `scene_camera.json`,
`scene_gt.json`, `scene_gt_info.json`. Millimetres become metres here, pixel centres on whole numbers get a half.
Onboarding sequences (`onboarding_static/obj_OOOOOO_up`, `..._down`, `onboarding_dynamic/obj_OOOOOO`) are scenes
too; of a dynamic one, poses are known of the first photos only. Source: BOP toolkit, docs/bop_datasets_format.md.
"""

from dataclasses import dataclass
from pathlib import Path

from maquette.data.formats.bop import MM
from maquette.data.formats.door import Value, read_json_value
from maquette.data.formats.geometry import photo_size, pinhole_of_matrix, rigid_of_parts
from maquette.data.formats.given import DepthFile, GivenCapture, GivenPhoto, MaskFile, capture_of
from maquette.data.formats.object_sphere import sphere_of_boxes
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import Matrix4

PHOTO_FOLDERS = ("rgb", "gray")
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
CURE = "copy the file again; expected BOP's scene format"
# Metres; translations outside are of another unit than millimetres.
NEAREST, FARTHEST = 0.005, 50.0


@dataclass(frozen=True)
class BopVisibility:
    """scene_gt_info.json of one instance; boxes are x, y, width, height, None for an instance out of sight."""

    box_obj: tuple[float, float, float, float] | None
    box_visib: tuple[float, float, float, float] | None
    px_count_all: int
    px_count_valid: int
    px_count_visib: int
    visib_fract: float


@dataclass(frozen=True)
class BopInstance:
    """One object in one photo; `gt_idx` is its place in scene_gt.json and in its masks' names. Metres."""

    obj_id: int
    gt_idx: int
    cam_from_obj: Matrix4
    visibility: BopVisibility | None
    mask: Path | None
    mask_visib: Path | None


@dataclass(frozen=True)
class BopView:
    """One photo of a scene. `lens` has our pixel centres; None where the photo is not on disk."""

    im_id: int
    photo: Path | None
    lens: Lens | None
    depth: DepthFile | None
    cam_from_world: Matrix4 | None
    instances: tuple[BopInstance, ...]


@dataclass(frozen=True)
class BopScene:
    """A scene with its photos by id."""

    folder: Path
    scene_id: int
    views: dict[int, BopView]

    @property
    def obj_ids(self) -> tuple[int, ...]:
        return tuple(sorted({i.obj_id for view in self.views.values() for i in view.instances}))


def find(folder: Path) -> bool:
    return (folder / "scene_camera.json").is_file() or len(_sequences(folder)) > 0


def read_scene(folder: Path) -> BopScene:
    """A scene's folder. Raises FormatError for everything that does not fit."""
    cameras = _by_image(folder / "scene_camera.json")
    truths = _by_image(folder / "scene_gt.json") if (folder / "scene_gt.json").exists() else {}
    infos = _by_image(folder / "scene_gt_info.json") if (folder / "scene_gt_info.json").exists() else {}
    for im_id, truth in truths.items():
        if im_id not in cameras:
            raise truth.error(f"scene_camera.json has no camera of image {im_id}")
    views = {
        im_id: _view(folder, im_id, camera, truths.get(im_id), infos.get(im_id))
        for im_id, camera in cameras.items()
    }
    digits = "".join(c for c in folder.name if c.isdecimal())
    return BopScene(folder, int(digits) if digits and len(digits) < 12 else 0, views)


def read_object_ids(path: Path) -> dict[int, list[int]]:
    """The object of each instance by photo, in the order of a scene_gt.json. Raises FormatError."""
    return {
        im_id: [instance.key("obj_id").whole(most=2**31) for instance in listed.each("instance")]
        for im_id, listed in _by_image(path).items()
    }


def _by_image(path: Path) -> dict[int, Value]:
    found: dict[int, Value] = {}
    for key, value in read_json_value(path, CURE).items():
        im_id = value.at("the image's id", key).whole(most=2**31)
        if im_id in found:
            raise value.error(f"image {im_id} is there twice")
        found[im_id] = value
    return found


def _view(folder: Path, im_id: int, camera: Value, truth: Value | None, info: Value | None) -> BopView:
    photo = _picture(folder, PHOTO_FOLDERS, f"{im_id:06d}")
    k = camera.key("cam_K")
    lens = pinhole_of_matrix(k, photo_size(photo) if photo else (1, 1), shift=0.5)
    cam_from_world = None
    if (rotation := camera.get("cam_R_w2c")) is not None:
        cam_from_world = rigid_of_parts(rotation, _metres(camera.key("cam_t_w2c")))
    stored = _picture(folder, ("depth",), f"{im_id:06d}")
    depth = None
    if (scale := camera.get("depth_scale")) is not None and stored is not None:
        depth = DepthFile(stored, scale.number(above=0.0) * MM)
    instances = [] if truth is None else truth.each("instance")
    infos = [None] * len(instances) if info is None else list(info.each("instance"))
    if len(infos) != len(instances):
        assert info is not None
        raise info.error(f"has {len(infos)} instances, scene_gt.json has {len(instances)}")
    read = tuple(
        _instance(folder, im_id, gt_idx, *pair) for gt_idx, pair in enumerate(zip(instances, infos, strict=True))
    )
    return BopView(im_id, photo, lens if photo else None, depth, cam_from_world, read)


def _instance(folder: Path, im_id: int, gt_idx: int, truth: Value, info: Value | None) -> BopInstance:
    name = f"{im_id:06d}_{gt_idx:06d}"
    translation = truth.key("cam_t_m2c")
    pose = rigid_of_parts(truth.key("cam_R_m2c"), _metres(translation))
    distance = float((pose[:3, 3] ** 2).sum() ** 0.5)
    if not NEAREST < distance < FARTHEST:
        other = "metres" if distance <= NEAREST else "smaller units than millimetres"
        cure = "BOP counts in millimetres: multiply when exporting" if other == "metres" else CURE
        raise translation.error(f"the object is {distance:.4g} m away: is this in {other}?", cure)
    return BopInstance(
        truth.key("obj_id").whole(most=2**31),
        gt_idx,
        pose,
        None if info is None else _visibility(info),
        _picture(folder, ("mask",), name),
        _picture(folder, ("mask_visib",), name),
    )


def _visibility(info: Value) -> BopVisibility:
    return BopVisibility(
        _box(info.get("bbox_obj")),
        _box(info.get("bbox_visib")),
        _count(info.get("px_count_all")),
        _count(info.get("px_count_valid")),
        _count(info.get("px_count_visib")),
        info.key("visib_fract").number(above=-1e-6, most=1.0 + 1e-6),
    )


def _count(value: Value | None) -> int:
    return 0 if value is None else value.whole()


def _box(value: Value | None) -> tuple[float, float, float, float] | None:
    if value is None:
        return None
    x, y, width, height = value.array(4).tolist()
    return None if width < 0 or height < 0 else (x, y, width, height)


def _metres(value: Value) -> Value:
    return value.at("in metres", value.array(3) * MM)


def _picture(folder: Path, places: tuple[str, ...], name: str) -> Path | None:
    candidates = (folder / place / f"{name}{ending}" for place in places for ending in ENDINGS)
    return next((path for path in candidates if path.is_file()), None)


def read(folder: Path, object_id: int | None = None) -> GivenCapture:
    """One object of a scene as a capture: the world is the object's model frame, in metres, and the mask its own.

    Of an onboarding folder, all sequences of the object together. Photos without a pose of the object stay
    unposed. Where a photo shows it more than once, the most visible counts. The object sphere is known from the
    boxes of its silhouettes. Raises FormatError.
    """
    folders = [folder] if (folder / "scene_camera.json").is_file() else _sequences(folder)
    if object_id is not None and len(folders) > 1:
        folders = [place for place in folders if _sequence_id(place) in (None, object_id)]
    where = Value(None, folder, "scene_gt.json", "give a scene's folder, and the object with --object")
    scenes = [read_scene(place) for place in folders]
    known = sorted({obj_id for scene in scenes for obj_id in scene.obj_ids})
    if object_id is None and len(known) != 1:
        raise where.error(f"holds the objects {', '.join(map(str, known)) or 'none'}", "say which with --object ID")
    chosen = known[0] if object_id is None else object_id
    if chosen not in known:
        raise where.error(f"object {chosen} is not in it; it holds {', '.join(map(str, known)) or 'none'}")
    photos = [
        _photo(scene, view, chosen, prefix=f"{scene.folder.name}_" if len(scenes) > 1 else "")
        for scene in scenes
        for view in scene.views.values()
        if view.photo is not None
    ]
    files = [place / name for place in folders for name in ("scene_camera.json", "scene_gt.json")]
    return capture_of(photos, True, files, where, _sphere(scenes, chosen), object_id=chosen)


def _sphere(scenes: list[BopScene], object_id: int) -> Sphere | None:
    """Around the object, by the boxes of its silhouettes; None where scene_gt_info.json is not there."""
    seen = [
        (view.lens, instance.cam_from_obj, instance.visibility.box_obj)
        for scene in scenes
        for view in scene.views.values()
        for instance in view.instances
        if instance.obj_id == object_id and instance.visibility is not None and view.lens is not None
    ]
    return sphere_of_boxes([(lens, pose, box) for lens, pose, box in seen if box is not None])


def _photo(scene: BopScene, view: BopView, object_id: int, prefix: str) -> GivenPhoto:
    assert view.photo is not None
    of_object = [i for i in view.instances if i.obj_id == object_id]
    best = max(of_object, key=lambda i: i.visibility.visib_fract if i.visibility else 1.0, default=None)
    mask = None if best is None else best.mask_visib or best.mask
    if best is None and (lone := _picture(scene.folder, ("mask_visib",), f"{view.im_id:06d}_000000")) is not None:
        mask = lone if not view.instances else None
    pose = None if best is None else best.cam_from_obj
    given = MaskFile(mask) if mask else None
    return GivenPhoto(f"{prefix}{view.photo.name}", view.photo, view.lens, pose, given, None, view.depth)


def _sequences(folder: Path) -> list[Path]:
    """Scenes inside an onboarding folder, or those whose name it begins (`obj_000001` of `_up`, `_down`)."""
    if folder.is_dir():
        inside = folder.iterdir()
        return sorted(p for p in inside if p.name.startswith("obj_") and (p / "scene_camera.json").is_file())
    if folder.name.startswith("obj_") and folder.parent.is_dir():
        both = (folder.with_name(f"{folder.name}{end}") for end in ("_up", "_down"))
        return [place for place in both if (place / "scene_camera.json").is_file()]
    return []


def _sequence_id(folder: Path) -> int | None:
    part = folder.name.split("_")[1] if "_" in folder.name else ""
    return int(part) if part.isdecimal() and len(part) < 12 else None
