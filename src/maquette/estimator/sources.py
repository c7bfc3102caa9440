"""Where training crops come from, as the options say: rendered views first of all, real photos, BOP images."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from maquette.asset.compare import align_assets
from maquette.asset.symmetries import symmetries_of
from maquette.data.captures import load_capture, load_ignored
from maquette.data.errors import InputError
from maquette.data.formats.bop_scene import read_scene
from maquette.data.formats.camera_json import read_camera
from maquette.data.images import read_mask, read_photo, resize_area
from maquette.data.jsonio import read_record
from maquette.data.progress import say
from maquette.data.records import Asset, View
from maquette.data.workspace import Workspace
from maquette.estimator.batches import Scene
from maquette.estimator.bop_images import find_scenes, load_bop_shots, object_of
from maquette.estimator.dressing import Dressing
from maquette.estimator.feeder import Mixed
from maquette.estimator.meshes import Unit, read_mesh
from maquette.estimator.occluders import Occlusion
from maquette.estimator.photos import PhotoCrops, Shot, make_shot
from maquette.estimator.pictures import Picture
from maquette.estimator.radiance import FieldRadiance, load_radiance
from maquette.estimator.sprites import LONGEST, Look, Sprite, cut_outs, load_cut_outs, make_sprites
from maquette.estimator.viewpoints import CropViews, ViewRange
from maquette.estimator.written import write_views
from maquette.geometry.symmetry import Symmetries
from maquette.geometry.transforms import Matrix4, apply, centre_of, inverse, without_scale
from maquette.kernels.cropviews import PixelBuffers
from maquette.render.mesh import Mesh, load_mesh

# Root mean square distance of two models of one object, in diameters, beyond which they are not taken for one.
ALIKE = 0.03


@dataclass(frozen=True)
class SourceConfig:
    """What the network is shown besides views of the mesh, and what those views take their looks from."""

    real: float = 0.15
    """Share of the crops that are cut from the capture's own photos, before other backgrounds (0: none)."""
    real_held_out: int = 6
    """Every so many of the capture's photos is kept for validation and never trained on."""
    colours: Literal["mesh", "field"] = "mesh"
    """Views wear the mesh's texture or vertex colours, or what the field says from where they are seen."""
    coordinates: Literal["mesh", "field"] = "mesh"
    """Surface points are the mesh's, or where the field's distance is zero."""
    looks: Path | None = None
    """Photograph this model of the object instead (a mesh file or a workspace); coordinates stay the other's."""
    looks_unit: Unit = "m"
    """Unit of that mesh file."""
    align: bool = False
    """Lay models on one another first (as `maquette align` does), where they have frames of their own: the asset on
    `--mesh`, so that photos and fields can be used with it; `looks` on the mesh; the mesh on BOP's model."""
    bop: Path | None = None
    """A BOP scene, or a folder of scenes, with mask_visib (BOP's PBR images, say)."""
    bop_object: int | None = None
    """Which of its objects, where there are several."""
    bop_share: float = 0.5
    """Share of the crops that come from there."""
    bop_most: int = 1000
    """So many of its sightings are kept in memory, drawn at random; 0.3 MB each with crops of 128 px."""
    camera: Path | None = None
    """The camera of the photos to come (camera.json): sets `views.photo`."""
    write_views: int = 0
    """Write so many training views as a BOP dataset into the estimator's folder, bop/."""


@dataclass(frozen=True)
class Sources:
    """Crops besides rendered views: those mixed into every batch, and the capture's photos kept for validation."""

    mixed: tuple[Mixed, ...] = ()
    held_out: PhotoCrops | None = None


def check_sources(request: SourceConfig) -> None:
    """Raises InputError for shares that leave no room."""
    shares = {"real": request.real, "bop-share": request.bop_share if request.bop else 0.0}
    if any(not 0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1:
        told = " and ".join(f"--sources.{name} {share:g}" for name, share in shares.items())
        raise InputError(f"the estimator's {told} must be at least 0 and together at most 1")
    if request.real > 0 and request.real_held_out < 2:
        raise InputError(f"the estimator's --sources.real-held-out must be at least 2, got {request.real_held_out}")
    if request.write_views < 0 or request.bop_most < 1:
        raise InputError(
            "the estimator's --sources.write-views must be at least 0, and --sources.bop-most at least 1"
        )


def source_inputs(workspace: Workspace, request: SourceConfig, own_asset: bool) -> dict[str, Path]:
    """What is read besides mesh and backgrounds; of images of a data set, only their poses are compared."""
    read: dict[str, Path] = {}
    if _photos_known(workspace) and request.real > 0 and (own_asset or request.align):
        read |= {"cameras": workspace.cameras / "cameras.json", "masks": workspace.asset / "masks"}
    if "field" in (request.colours, request.coordinates):
        read |= {"fields": workspace.fields / "fields.safetensors"}
    if request.looks is not None:
        read |= {"looks": _mesh_file(request.looks)}
    if request.bop is not None:
        read |= {f"bop_{place.name}": place / "scene_gt.json" for place in find_scenes(request.bop)}
    return read


def open_scene(workspace: Workspace, request: SourceConfig, mesh: Mesh, own_asset: bool, crop: int) -> Scene:
    """The object to photograph. Raises InputError where another model of it does not fit."""
    looks = None
    if request.looks is not None:
        file = _mesh_file(request.looks)
        looks = read_mesh(file, request.looks_unit) if request.looks.is_file() else load_mesh(file)
        if request.align:
            looks = looks.transformed(_aligned(looks, mesh, f"the looks {request.looks}", "the mesh"))
    radiance: FieldRadiance | None = None
    if "field" in (request.colours, request.coordinates):
        asset, obj_from_asset = _asset(
            workspace, request, mesh, own_asset, "--sources.colours field (or coordinates field)"
        )
        views = load_capture(workspace).learnt
        eyes = np.array([apply(asset.obj_from_world, centre_of(view.cam_from_world)) for view in views])
        radiance = load_radiance(workspace, asset, obj_from_asset, eyes)
    painter = radiance if request.colours == "field" else None
    return Scene(mesh, crop, looks, painter, radiance if request.coordinates == "field" else None)


def open_sources(
    workspace: Workspace,
    request: SourceConfig,
    scene: Scene,
    views: ViewRange,
    own_asset: bool,
    crop: int,
    batch: int,
    rng: np.random.Generator,
) -> Sources:
    """Photos and images as asked for; a few at least of each batch where a share is not nothing."""
    mixed: list[Mixed] = []
    held_out = None
    if request.real > 0 and _photos_known(workspace) and (own_asset or request.align):
        asset, obj_from_asset = _asset(workspace, request, scene.mesh, own_asset, "--sources.real")
        shots = capture_shots(workspace, asset, obj_from_asset, scene, crop)
        kept = shots[request.real_held_out // 2 :: request.real_held_out]
        trained = [shot for shot in shots if shot not in kept]
        say(f"estimator: {len(trained)} photos of the capture to learn from, {len(kept)} to validate on")
        if trained:
            source = PhotoCrops(scene, trained, views, "replaced", occluded=True)
            mixed.append(Mixed(source, min(batch, max(1, round(request.real * batch)))))
        held_out = PhotoCrops(scene, kept, views, "replaced", occluded=True) if kept else None
    elif request.real > 0 and _photos_known(workspace):
        say(
            "estimator: the capture's photos are neither learnt from nor validated on, because --mesh has a frame "
            "of its own; --sources.align lays the asset on it"
        )
    if request.bop is not None and request.bop_share > 0:
        shots = _bop_shots(request, scene, crop, rng)
        say(f"estimator: {len(shots)} sightings in {request.bop}")
        source = PhotoCrops(scene, shots, views, "as taken", occluded=False)
        left = batch - sum(other.crops for other in mixed)
        mixed += [Mixed(source, min(left, max(1, round(request.bop_share * batch))))] if left > 0 else []
    return Sources(tuple(mixed), held_out)


def capture_shots(
    workspace: Workspace, asset: Asset, obj_from_asset: Matrix4, scene: Scene, crop: int
) -> list[Shot]:
    """The learnt photos with their masks as the object sees them; held-out photos are never opened."""
    obj_from_world = obj_from_asset @ asset.obj_from_world
    shots = []
    for view in load_capture(workspace).learnt:
        mask = _mask(workspace, view)
        if mask is not None:
            pose = without_scale(view.cam_from_world @ inverse(obj_from_world))
            shot = make_shot(
                scene, view.name, read_photo(workspace.photo(view.name)), mask, view.camera, pose, crop
            )
            shots += [] if shot is None else [shot]
    return shots


def with_camera(views: ViewRange, request: SourceConfig) -> ViewRange:
    """The views with the camera of the photos to come, where its file is given."""
    if request.camera is None:
        return views
    camera = read_camera(request.camera).pinhole
    return replace(views, photo=(camera.width, camera.height, (camera.fx + camera.fy) / 2))


def write_bop(
    folder: Path,
    request: SourceConfig,
    scene: Scene,
    views: ViewRange,
    dressing: Dressing,
    crop: int,
    asset: Asset | None,
) -> None:
    """Training views as a BOP dataset, where they are asked for.

    `asset` is the record of the scene's mesh, None for somebody else's, which is in metres and whose symmetries are
    found here. Raises InputError for an unknown scale.
    """
    if request.write_views == 0:
        return
    if asset is not None and not asset.metric:
        raise InputError(
            "the estimator's --sources.write-views: BOP counts in millimetres, and the object's scale is unknown"
        )
    shutil.rmtree(folder, ignore_errors=True)
    known = None if asset is None else Symmetries(asset.symmetries_discrete, asset.symmetries_continuous)
    same = symmetries_of(scene.mesh) if known is None else known
    write_views(folder, scene, views, dressing, request.write_views, crop, np.random.default_rng(0), same)


def open_sprites(occlusion: Occlusion, pictures: list[Picture], rng: np.random.Generator) -> list[Sprite]:
    """What the kind of occlusion needs to stand in front of the object."""
    if occlusion.kind == "none":
        return []
    given = load_cut_outs(occlusion.cut_outs) if occlusion.cut_outs else []
    if occlusion.kind == "published":
        return given or cut_outs(pictures, 120, rng)
    made = make_sprites(pictures, all_around(rng), occlusion.sprites, rng) if occlusion.sprites else []
    return given + made


def all_around(rng: np.random.Generator) -> Look:
    """Views of a mesh from anywhere."""

    def look(mesh: Mesh, count: int) -> tuple[CropViews, PixelBuffers]:
        pool = Scene(mesh, LONGEST).draw_pool(count, LONGEST, ViewRange(all_rotations=True), rng)
        return pool.views, pool.buffers

    return look


def _photos_known(workspace: Workspace) -> bool:
    return (workspace.cameras / "cameras.json").exists() and (workspace.asset / "asset.json").exists()


def _mask(workspace: Workspace, view: View) -> np.ndarray | None:
    """The visible object in a learnt photo, at the photo's size: as rendered, else as first segmented."""
    places = (workspace.rendered_mask(view.name), workspace.coarse_mask(view.name))
    path = next((place for place in places if place.exists()), None)
    if path is None:
        return None
    seen = resize_area(read_mask(path).astype(np.uint8) * 255, view.camera.width, view.camera.height) > 127
    ignored = load_ignored(workspace, view)
    return seen if ignored is None else seen & ~ignored


def _asset(
    workspace: Workspace, request: SourceConfig, mesh: Mesh, own_asset: bool, what: str
) -> tuple[Asset, Matrix4]:
    """The workspace's asset and obj_from_asset for the mesh in use. Raises InputError where they are unrelated."""
    folder = workspace.require("asset", "asset.json", "mesh.ply")
    asset = read_record(folder / "asset.json", Asset)
    if own_asset:
        return asset, np.eye(4)
    if not request.align:
        raise InputError(
            f"the estimator's {what} needs the workspace's own asset: leave --mesh away, or add --sources.align; "
            "or take the mesh's own colours and surface (--sources.colours mesh)"
        )
    return asset, _aligned(load_mesh(folder / "mesh.ply"), mesh, "the workspace's asset", "--mesh")


def _aligned(a: Mesh, b: Mesh, name_a: str, name_b: str) -> Matrix4:
    found = align_assets(a, b, with_scale=True)
    if found.rms_over_diameter > ALIKE:
        raise InputError(
            f"{name_a} does not fit {name_b}: {found.rms_over_diameter:.1%} of the diameter apart, at most "
            f"{ALIKE:.0%} is expected of two models of one object"
        )
    say(f"estimator: {name_a} fits {name_b} within {found.rms_over_diameter:.2%} of the diameter")
    return found.b_from_a


def _bop_shots(request: SourceConfig, scene: Scene, crop: int, rng: np.random.Generator) -> list[Shot]:
    assert request.bop is not None
    scenes = [read_scene(place) for place in find_scenes(request.bop)]
    obj_id = object_of(scenes, request.bop_object)
    model_from_obj = np.eye(4)
    if request.align:
        places = [parent / "models" / f"obj_{obj_id:06d}.ply" for parent in scenes[0].folder.parents[:3]]
        model = next((place for place in places if place.exists()), None)
        if model is None:
            raise InputError(
                f"the estimator's --sources.align finds no models/obj_{obj_id:06d}.ply beside {request.bop}"
            )
        model_from_obj = _aligned(scene.mesh, read_mesh(model, "mm"), "the mesh", str(model))
    return load_bop_shots(scenes, obj_id, model_from_obj, scene, crop, request.bop_most, rng)


def _mesh_file(path: Path) -> Path:
    return path if path.is_file() else Workspace(path).require("asset", "mesh.ply") / "mesh.ply"
