"""The stage `cameras`: photos, a video or a posed capture in; views, points and the object sphere out."""

import os
import shutil
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from maquette.cameras import adjusted, assemble, checks, gather, given, sources, splitting
from maquette.cameras.exif import focal_length
from maquette.cameras.given import Beside, BesideConfig
from maquette.cameras.locate import PixelBox, locate_object, metric_scale
from maquette.cameras.pairs import pairs_by_pose
from maquette.cameras.sfm import PhotoEntry, Request, entry_of, read_adjusted, run_colmap, unknown_lens
from maquette.cameras.sources import Posed, Source
from maquette.cameras.undistort import undistort_box, undistorted_camera
from maquette.data.captures import load_capture, save_capture
from maquette.data.errors import InputError
from maquette.data.formats.camera_json import read_camera
from maquette.data.formats.colmap import ColmapModel, write_model
from maquette.data.images import select_photos
from maquette.data.progress import Stopwatch, say, steps, track
from maquette.data.records import Capture, View
from maquette.data.workspace import StageFolder, Workspace, begin_stage, swap_in
from maquette.geometry.lens import Lens
from maquette.geometry.sphere import Sphere
from maquette.geometry.transforms import centre_of

STEPS = {
    "features": "features of photos",
    "matches": "matching pairs of photos",
    "mapping": "placing photos",
    "adjusting": "fitting given poses to the photos",
}


@dataclass(frozen=True)
class CamerasConfig:
    """Where the photos come from, and what is known of them."""

    source: Annotated[Path, tyro.conf.Positional]
    """A folder of photos, a video, or a capture with cameras (COLMAP, nerfstudio, NeuS, BOP, ...)."""
    format: sources.FormatChoice | None = None
    """What SOURCE is, where looking is not enough; `photos` finds the cameras anew."""
    object: int | None = None
    """The object's id in a source that holds several (BOP, FoundationPose)."""
    frames: str | None = None
    """Take only START:STOP:STEP of the sorted photos, as in 0:80:2."""
    holdout: int | None = None
    """Hold out every photo whose index is divisible by this: it gets a camera and is never learnt from."""
    split: Path | None = None
    """Which photos are learnt and which held out: a JSON file {"learnt": [names], "held_out": [names]}; photos in
    neither list are left away."""
    camera: Path | None = None
    """The calibration of all photos: a camera.json or a COLMAP cameras.txt. Without it, found from the photos."""
    given_poses: adjusted.GivenPoses = "auto"
    """Poses that come with the photos (of a phone, a robot, a tracker). keep: as they are. adjust: bundle adjusted
    to the photos, in the frame and unit they came in. auto: adjusted where they miss the photos' features by more
    than a pixel, features agree far better afterwards, and no camera moves so far that something else is amiss. A
    COLMAP model that brings its points is taken as it is, unless adjust is said."""
    box: tuple[str, float, float, float, float] | None = None
    """The object in one photo: PHOTO x0 y0 x1 y1, in pixels of the photo as displayed."""
    size: float | None = None
    """The object's largest extent in metres, if known: makes everything metric."""
    beside: Annotated[BesideConfig, tyro.conf.arg(name="")] = field(default_factory=BesideConfig)
    lens: Literal["SIMPLE_RADIAL", "RADIAL", "OPENCV"] = "SIMPLE_RADIAL"
    """The model of an unknown lens."""
    video_frames: int = 80
    """Sharp frames to take from a video."""
    max_dimension: int = 1200
    """Photos are shrunk to this before features are sought."""
    max_features: int = 2048
    """Features per photo."""
    first_octave: int = -1
    """-1 seeks features in the photo at twice its size, 0 at its own: faster, fewer."""
    partners: int = 20
    """Photos that each photo is matched with: those most alike, or the nearest where poses are known."""
    neighbours: int = 4
    """Photos next in order that each photo is matched with besides."""
    seed: int = 0


@dataclass(frozen=True)
class CamerasResult:
    """Where the capture lies and what it holds."""

    folder: Path
    capture: Capture
    skipped: bool = False


@dataclass(frozen=True)
class _Shot:
    """One chosen photo on its way: as displayed, with the lens it was taken through and its name for COLMAP."""

    name: str
    path: Path
    lens: Lens
    colmap_name: str = ""


def run(workspace: Workspace, request: CamerasConfig, overwrite: bool = False) -> CamerasResult:
    """Fill `capture/` and `cameras/`. Raises InputError for everything a person can mend."""
    watch = Stopwatch()
    checks.check_options(request.holdout, request.size)
    source = sources.find_source(request.source, request.format, request.object)
    if request.split is not None:
        source = splitting.with_split(source, request.split, request.holdout)
    source = given.with_masks(source, request.beside)
    chosen = tuple(select_photos(source.photos, request.frames)) if source.photos else ()
    inputs = source.inputs(chosen) | ({"camera": request.camera} if request.camera else {})
    if request.beside.ignore_masks is not None:
        inputs |= {"ignored": request.beside.ignore_masks}
    if request.split is not None:
        inputs |= {"split": request.split}
    stage = begin_stage(workspace.cameras, _without_paths(request), inputs, overwrite, keep=True)
    if stage.complete:
        return CamerasResult(workspace.cameras, load_capture(workspace), skipped=True)

    beside = workspace.capture.with_name(".capture.partial")
    shutil.rmtree(beside, ignore_errors=True)
    if source.given is not None and source.video is not None:
        photos = gather.gather_given_frames(source.given, request.frames, beside / "photos")
    elif source.video is not None:
        frames = gather.gather_frames(source.video, request.video_frames, beside / "photos")
        photos = tuple(select_photos(frames, request.frames))
    else:
        sources.check_names(chosen)
        photos = gather.gather_photos(chosen, beside / "photos")
    checks.check_count(len(photos), request.source, request.frames)
    sizes = sources.check_photos(photos)
    posed = sources.posed_of(source.given)
    checks.check_box(request.box, sizes, _held_out(request, posed, list(sizes)))
    if posed is not None and request.size is not None and posed.metric:
        raise InputError(f"the cameras in {source.root} are in metres already; leave --size out.")
    beside_photos = given.gather_beside(request.beside, source, photos, sizes)
    shots = _lenses(request, photos, sizes, posed)
    model, shots = _reconstruct(request, shots, posed, beside_photos, stage)
    capture = _assemble(request, model, shots, posed, list(sizes), stage)
    _bring_along(source, beside_photos, shots, workspace, beside)
    save_capture(stage.partial, capture)
    write_model(stage.partial / "sparse", assemble.to_colmap(capture.views, capture.points))
    shutil.rmtree(stage.partial / "work", ignore_errors=True)
    swap_in(beside, workspace.capture)
    stage.commit(watch.seconds, seed=request.seed)
    _report(capture, watch.seconds)
    return CamerasResult(workspace.cameras, capture)


def _without_paths(request: CamerasConfig) -> CamerasConfig:
    """What was asked but for where it lies: files count by their content."""
    beside = replace(request.beside, given_masks=None, ignore_masks=None)
    return replace(request, source=Path(), camera=None, split=None, beside=beside)


def _bring_along(source: Source, beside: Beside, shots: list[_Shot], workspace: Workspace, capture: Path) -> None:
    """Masks and truth that came with the photos; masks are undistorted as their photos were."""
    for shot in shots:
        camera = undistorted_camera(shot.lens)
        if shot.name in beside.given:
            target = capture / workspace.given_mask(shot.name).relative_to(workspace.capture)
            given.write_given(beside.given[shot.name], shot.lens, camera, target)
        pixels = beside.ignored_pixels(shot.name, (shot.lens.width, shot.lens.height))
        if pixels is not None:
            target = capture / workspace.ignored_mask(shot.name).relative_to(workspace.capture)
            given.write_ignored(pixels, shot.lens, camera, target)
    if source.truth is not None:
        gather.copy_truth(source.truth, capture / "truth")
    gather.note_source(capture, source)


def _lenses(
    request: CamerasConfig, photos: tuple[Path, ...], sizes: dict[str, tuple[int, int]], posed: Posed | None
) -> list[_Shot]:
    """Each photo with its lens: given with its pose, given for all, or unknown (one per size of photo)."""
    given = read_camera(request.camera) if request.camera else None
    shots, unknown = [], {}
    for path in photos:
        size = sizes[path.name]
        if posed is not None and path.name not in posed.cam_from_world:
            continue
        if given is not None:
            lens, where = given, f"--camera {request.camera}"
        elif posed is not None:
            lens, where = posed.lenses[path.name], f"the cameras given in {request.source}"
        else:
            if size not in unknown:
                unknown[size] = unknown_lens(request.lens, *size, focal_length(path, *size))
            lens, where = unknown[size], ""
        checks.check_lens_size(path.name, size, lens, where)
        shots.append(_Shot(path.name, path, lens))
    if len(shots) < checks.FEWEST_PHOTOS:
        raise InputError(f"{request.source} gives poses of only {len(shots)} of {len(photos)} chosen photos.")
    return shots


def own_model(request: CamerasConfig, posed: Posed | None) -> ColmapModel | None:
    """The sparse model that came with the photos, where it has points enough and nothing is to be adjusted."""
    model = None if posed is None or request.given_poses == "adjust" else posed.model
    return model if model is not None and len(model.points.ids) >= 100 else None


def _reconstruct(
    request: CamerasConfig, shots: list[_Shot], posed: Posed | None, beside: Beside, stage: StageFolder
) -> tuple[ColmapModel, list[_Shot]]:
    """The sparse model, and the photos in it with the lens they turned out to have."""
    given_model = own_model(request, posed)
    if given_model is not None:
        names = {Path(image.name).name for image in given_model.images.values()}
        return given_model, [replace(shot, colmap_name=shot.name) for shot in shots if shot.name in names]
    work = stage.partial / "work"
    names = gather.photos_for_colmap([shot.path for shot in shots], work / "photos")
    shots = [replace(shot, colmap_name=names[shot.name]) for shot in shots]
    sized = [(shot.name, shot.colmap_name, (shot.lens.width, shot.lens.height)) for shot in shots]
    distinct = list(dict.fromkeys(shot.lens for shot in shots))
    known = request.camera is not None or posed is not None
    asked = Request(
        images=work / "photos",
        database=work / "database.db",
        output=work / "model",
        photos=tuple(PhotoEntry(shot.colmap_name, distinct.index(shot.lens)) for shot in shots),
        cameras=tuple(entry_of(lens, known) for lens in distinct),
        poses=None if posed is None else tuple(posed.cam_from_world[shot.name] for shot in shots),
        pairs=_pairs(request, shots, posed),
        partners=request.partners,
        neighbours=request.neighbours,
        fixed=known,
        max_dimension=request.max_dimension,
        max_features=request.max_features,
        first_octave=request.first_octave,
        threads=os.cpu_count() or 1,
        seed=request.seed,
        masks=given.write_for_colmap(beside, sized, work / "masks"),
        adjust_above=adjusted.needed_above(request.given_poses, shots[0].lens),
    )
    with steps(STEPS) as progress:
        model = run_colmap(asked, progress)
    if model is None or len(model.images) < 3:
        raise checks.nothing_built(0 if model is None else len(model.images), len(shots), request.camera)
    if posed is not None and (other := read_adjusted(asked)) is not None:
        model = adjusted.choose(model, other, request.given_poses)
    by_name = {image.name: model.cameras[image.camera_id] for image in model.images.values()}
    return model, [replace(s, lens=by_name[s.colmap_name]) for s in shots if s.colmap_name in by_name]


def _pairs(request: CamerasConfig, shots: list[_Shot], posed: Posed | None) -> tuple[tuple[int, int], ...] | None:
    """All pairs of few photos, the nearest where poses are known; None: by look."""
    if len(shots) <= request.partners + 1:
        return tuple(combinations(range(len(shots)), 2))
    if posed is None:
        return None
    poses = [posed.cam_from_world[shot.name] for shot in shots]
    axes = np.stack([pose[2, :3] for pose in poses])
    return pairs_by_pose(np.stack([centre_of(pose) for pose in poses]), axes, request.partners)


def _assemble(
    request: CamerasConfig,
    model: ColmapModel,
    shots: list[_Shot],
    posed: Posed | None,
    names: list[str],
    stage: StageFolder,
) -> Capture:
    """Undistort the photos of the model and put the capture together; the object is located last."""
    shots = sorted(shots, key=lambda shot: shot.name)
    held_out = _held_out(request, posed, names)
    by_name = {Path(image.name).name: image for image in model.images.values()}
    images = [by_name[shot.colmap_name] for shot in shots]
    views = tuple(
        View(shot.name, undistorted_camera(shot.lens), image.cam_from_world, shot.name in held_out)
        for shot, image in zip(shots, images, strict=True)
    )
    points = assemble.collect_points(images, [shot.lens for shot in shots], views, model.points)
    observed = np.zeros((len(points.xy), 3))
    (stage.partial / "photos").mkdir(exist_ok=True)
    for index, (shot, view) in enumerate(track(list(zip(shots, views, strict=True)), "undistorting photos")):
        target = stage.partial / "photos" / shot.name
        pixels = gather.write_undistorted(shot.path, shot.lens, view.camera, target)
        of_view = points.view_idx == index
        observed[of_view] = assemble.sample_colours(pixels, points.xy[of_view])
    capture = Capture(
        views=views,
        sphere=Sphere((0.0, 0.0, 0.0), 1.0),
        points=assemble.with_colours(points, observed),
        metric=posed is not None and posed.metric,
        box=_undistorted_box(request, shots),
        unregistered=tuple(sorted(set(names) - {shot.name for shot in shots})),
        reprojection_error_px=float(np.mean(assemble.reprojection_errors(views, points)))
        if len(points.xy)
        else None,
    )
    return _with_object(request, capture, posed)


def _held_out(request: CamerasConfig, posed: Posed | None, names: list[str]) -> set[str]:
    """The photos that are never learnt from: as asked, else as the source itself has it."""
    if request.split is not None:
        return splitting.held_out_of(request.split) & set(names)
    if request.holdout is not None or posed is None:
        return checks.held_out(names, request.holdout)
    return set(names) & posed.held_out


def _undistorted_box(request: CamerasConfig, shots: list[_Shot]) -> tuple[str, PixelBox] | None:
    if request.box is None:
        return None
    name, *corners = request.box
    shot = next((shot for shot in shots if shot.name == name), None)
    if shot is None:
        raise InputError(f"--box is on {name}, which did not register; mark the object in another photo.")
    return name, undistort_box(
        (corners[0], corners[1], corners[2], corners[3]), shot.lens, undistorted_camera(shot.lens)
    )


def _with_object(request: CamerasConfig, capture: Capture, posed: Posed | None) -> Capture:
    """The capture with its object sphere, its supporting plane and, where the size is known, its scale."""
    rng = np.random.default_rng(request.seed)
    given = posed.sphere if posed is not None and request.box is None else None
    sphere, plane = locate_object(capture.views, capture.points, given, capture.box, rng)
    if sphere is None:
        raise InputError(
            f"no points were found in the box of {capture.box[0] if capture.box else '?'}: "
            "draw it around the whole object, or mark the object in a photo that shows it better."
        )
    capture = replace(capture, sphere=sphere, up_world=plane.normal if plane else None)
    if request.size is None:
        return capture
    scale, error = metric_scale(sphere, capture.points, plane, request.size)
    views, points = assemble.scaled(capture.views, capture.points, scale)
    x, y, z = sphere.centre
    sphere = Sphere((x * scale, y * scale, z * scale), sphere.radius * scale)
    known = {"metric": True, "size": request.size, "scale_error": error}
    return replace(capture, views=views, points=points, sphere=sphere, **known)


def _report(capture: Capture, seconds: float) -> None:
    held = f", {len(capture.held_out)} of them held out" if capture.held_out else ""
    error = f", {capture.reprojection_error_px:.2f} px" if capture.reprojection_error_px is not None else ""
    count = f"{len(capture.views)} photos{held}, {len(capture.points.world)} points{error}"
    unit = " m" if capture.metric else ""
    say(f"cameras: {count}; object sphere of radius {capture.sphere.radius:.4g}{unit}; {seconds:.0f} s")
    if capture.unregistered:
        named = ", ".join(capture.unregistered[:12]) + (", ..." if len(capture.unregistered) > 12 else "")
        say(f"  {len(capture.unregistered)} photos did not fit and are left out: {named}")
    if not capture.metric:
        say("  the scale is unknown: give --size (the object's largest extent in metres) to make it metric")
