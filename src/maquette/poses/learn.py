"""What local features need of a workspace: landmarks from its photos, masks and cameras, made once and kept.

`features/` is filled when poses are first asked for; it takes seconds. With an asset the landmarks lie on its mesh
and in its frame. Without one they are SfM's own points in a frame of the object sphere's, and their convex hull
stands in for the mesh: poses can be had as soon as there are cameras and masks.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.spatial import ConvexHull, KDTree

from maquette.data.captures import as_masked, load_capture, load_ignored
from maquette.data.checkpoints import load_tensors, save_tensors
from maquette.data.errors import InputError
from maquette.data.images import read_mask, read_photo, resize_area
from maquette.data.jsonio import read_record, write_json
from maquette.data.progress import Stopwatch, say, track
from maquette.data.records import Asset, Capture, View
from maquette.data.workspace import Workspace, begin_stage
from maquette.geometry.transforms import Matrix4, apply, inverse, similarity, without_scale
from maquette.matching.keypoints import Keypoints, find_keypoints
from maquette.matching.landmarks import Landmarks, join, landmarks_of_photo
from maquette.render.mesh import Mesh, MeshRenderer, load_mesh


@dataclass(frozen=True)
class FeaturesConfig:
    """How many features of the learnt photos are kept."""

    per_photo: int = 1500
    """Strongest features on the object, in each learnt photo."""
    most: int = 12000
    """Landmarks of the object in all; matching takes time in proportion."""
    longest: int = 1600
    """The object's neighbourhood is shrunk to this many pixels where it is larger."""
    steepest: float = 0.2
    """Least cosine between a ray and the surface's normal: features on surfaces seen at a glance are left out."""
    nearby: float = 2.0
    """A feature takes the depth of an SfM point seen within this many pixels."""


@dataclass(frozen=True)
class LearntFeatures:
    """Landmarks in obj, and the frame: lengths in metres where `metric`, else in radii of the object sphere.

    `hull` is the landmarks' convex hull where there was no asset, else None.
    """

    landmarks: Landmarks
    metric: bool
    obj_from_world: Matrix4
    hull: Mesh | None


@dataclass(frozen=True)
class FeaturesRecord:
    """features.json."""

    obj_from_world: Matrix4
    metric: bool
    diameter: float
    from_mesh: bool
    photos: int
    landmarks: int


def learn_features(
    workspace: Workspace, request: FeaturesConfig = FeaturesConfig(), keep: bool = True
) -> LearntFeatures:
    """The landmarks of a workspace, made anew where cameras, masks or asset have changed.

    `keep` writes them into `features/`. Raises InputError where cameras or masks are missing, or where nothing on
    the object has features.
    """
    workspace.require("cameras", "cameras.json", "points.safetensors")
    has_asset = (workspace.asset / "asset.json").exists()
    if not has_asset:
        workspace.require("masks", "masks.json")
    inputs = {"cameras": workspace.cameras / "cameras.json", "points": workspace.cameras / "points.safetensors"}
    records = workspace.masks / "masks.json"
    inputs |= {"asset": workspace.asset} if has_asset else {"masks": workspace.masks / "coarse", "records": records}
    inputs |= {"ignored": workspace.ignored} if workspace.ignored.exists() else {}
    stage = begin_stage(workspace.features, request, inputs, overwrite=True) if keep else None
    if stage is not None and stage.complete:
        return read_features(workspace.features)
    watch = Stopwatch()
    capture = as_masked(workspace, load_capture(workspace))
    learnt = _on_mesh(workspace, capture, request) if has_asset else _on_points(workspace, capture, request)
    if stage is not None:
        _write(stage.partial, learnt, len(capture.learnt))
        stage.commit(watch.seconds)
        say(f"features: {len(learnt.landmarks.extent)} landmarks, {watch.seconds:.0f} s -> {stage.final}")
    return learnt


def read_features(folder: Path) -> LearntFeatures:
    """The landmarks that lie in a folder. Raises InputError where its files are missing or broken."""
    record = read_record(folder / "features.json", FeaturesRecord)
    tensors, _ = load_tensors(folder / "features.safetensors")
    points, frames = tensors["points_obj"].double().numpy(), tensors["obj_from_key"].double().numpy()
    landmarks = Landmarks(
        points, frames, tensors["extent"].double().numpy(), tensors["descriptor"].numpy(), record.diameter
    )
    return LearntFeatures(
        landmarks, record.metric, record.obj_from_world, None if record.from_mesh else hull_of(points)
    )


def hull_of(points: Float[np.ndarray, "point 3"]) -> Mesh:
    """The convex hull of points as a mesh that winds outwards."""
    hull = ConvexHull(points)
    used, faces = np.unique(hull.simplices, return_inverse=True)
    corners = points[hull.simplices]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inwards = (across * hull.equations[:, :3]).sum(-1) < 0
    faces = faces.reshape(-1, 3)
    faces[inwards] = faces[inwards][:, ::-1]
    return Mesh(torch.as_tensor(points[used]).float(), torch.as_tensor(faces).int())


def keypoints_on(
    photo: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"], request: FeaturesConfig
) -> Keypoints:
    """The features of a photo that lie in the mask, farther from its edge than they are large (and 2 pixels).

    Nearer the edge a descriptor would show what stands behind the object rather than the object.
    """
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return find_keypoints(photo[:0])
    rim = 0.1 * max(np.ptp(rows), np.ptp(columns))
    window = (columns.min() - rim, rows.min() - rim, columns.max() + rim + 1, rows.max() + rim + 1)
    found = find_keypoints(photo, 4 * request.per_photo, request.longest, window)
    inside = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    column, row = np.floor(found.xy).astype(int).T
    on = inside[row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)] > np.maximum(2.0, found.size)
    return found[np.flatnonzero(on)[: request.per_photo]]


def _on_mesh(workspace: Workspace, capture: Capture, request: FeaturesConfig) -> LearntFeatures:
    """Landmarks where rays through the features meet the asset's mesh."""
    asset = read_record(workspace.asset / "asset.json", Asset)
    renderer = MeshRenderer(load_mesh(workspace.asset / "mesh.ply"))
    parts = []
    for view in track(capture.learnt, "features", len(capture.learnt)):
        cam_from_obj = without_scale(view.cam_from_world @ inverse(asset.obj_from_world))
        photo = read_photo(workspace.photo(view.name))
        keypoints = keypoints_on(photo, _mask(workspace, view), request)
        depth = mesh_depth(renderer, view, cam_from_obj, keypoints.xy, request.steepest)
        parts.append(landmarks_of_photo(keypoints, view.camera, cam_from_obj, depth, asset.diameter))
    return LearntFeatures(_joined(parts, request.most), asset.metric, asset.obj_from_world, None)


def _on_points(workspace: Workspace, capture: Capture, request: FeaturesConfig) -> LearntFeatures:
    """Landmarks at SfM's points, and the hull of those that most photos see on the object."""
    points = capture.points
    masks = {view.name: _mask(workspace, view) for view in capture.learnt}
    votes, seen = np.zeros(len(points.world)), np.zeros(len(points.world))
    for index, view in enumerate(capture.views):
        if not view.held_out:
            of_view = points.view_idx == index
            column, row = np.floor(points.xy[of_view]).astype(int).T
            mask = masks[view.name]
            on = mask[row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)]
            np.add.at(votes, points.point_idx[of_view], on)
            np.add.at(seen, points.point_idx[of_view], 1)
    inside = np.linalg.norm(points.world - np.array(capture.sphere.centre), axis=-1) < capture.sphere.radius
    on_object = (votes > 0.7 * seen) & (seen >= 2) & inside
    if on_object.sum() < 8:
        raise InputError(
            f"only {int(on_object.sum())} sparse points of {workspace.root} lie in the masks; local features need "
            "8. Make the asset first (`maquette asset`), or leave them out with --local off."
        )
    obj_from_world = sphere_frame(capture)
    points_obj = apply(obj_from_world, points.world)
    hull = hull_of(points_obj[on_object])
    parts = []
    for index, view in enumerate(capture.views):
        if view.held_out:
            continue
        keypoints = keypoints_on(read_photo(workspace.photo(view.name)), masks[view.name], request)
        of_view = np.flatnonzero((points.view_idx == index) & on_object[points.point_idx])
        if len(of_view) == 0 or len(keypoints.size) == 0:
            continue
        cam_from_obj = without_scale(view.cam_from_world @ inverse(obj_from_world))
        gap, nearest = KDTree(points.xy[of_view]).query(keypoints.xy)
        depth = apply(cam_from_obj, points_obj[points.point_idx[of_view]])[nearest, 2]
        depth = np.where(gap < request.nearby, depth, np.inf)
        parts.append(landmarks_of_photo(keypoints, view.camera, cam_from_obj, depth, hull.diameter))
    return LearntFeatures(_joined(parts, request.most), capture.metric, obj_from_world, hull)


def mesh_depth(
    renderer: MeshRenderer,
    view: View,
    cam_from_obj: Matrix4,
    xy: Float[np.ndarray, "keypoint 2"],
    steepest: float,
) -> Float[np.ndarray, "keypoint"]:
    """z in cam of the mesh behind each pixel; infinite beside the mesh and where it is seen at a glance."""
    rays = view.camera.directions(xy)
    obj_from_cam = inverse(cam_from_obj)
    directions = torch.as_tensor(rays @ obj_from_cam[:3, :3].T).float()
    hits = renderer.cast(torch.as_tensor(obj_from_cam[:3, 3]).float().expand_as(directions), directions)
    cosine = -(renderer.normals(hits) * directions).sum(-1)
    depth = hits.distance.double().numpy() * rays[:, 2]
    return np.where(cosine.numpy() > steepest, depth, np.inf)


def sphere_frame(capture: Capture) -> Matrix4:
    """obj_from_world where there is no asset: origin at the object sphere's centre, z up; metres or radii."""
    z = np.array(capture.up_world) if capture.up_world else np.array([0.0, 0.0, 1.0])
    z = z / np.linalg.norm(z)
    x = np.cross(z, np.eye(3)[np.argmin(np.abs(z))])
    x /= np.linalg.norm(x)
    frame = similarity(
        1.0 if capture.metric else 1.0 / capture.sphere.radius, np.stack([x, np.cross(z, x), z]), np.zeros(3)
    )
    frame[:3, 3] = -apply(frame, np.array(capture.sphere.centre))
    return frame


def _mask(workspace: Workspace, view: View) -> Bool[np.ndarray, "height width"]:
    """Where the object is seen in a learnt photo: the asset's mask, else the coarse one, at the photo's size."""
    rendered, coarse = workspace.rendered_mask(view.name), workspace.coarse_mask(view.name)
    mask = read_mask(rendered if rendered.exists() else coarse).astype(np.float32)
    sized = resize_area(mask, view.camera.width, view.camera.height) > 0.5
    if rendered.exists() and coarse.exists():
        # The coarse mask knows what stands before the object; its own edge is not to be trusted to the pixel.
        known = cv2.dilate(read_mask(coarse).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
        sized &= resize_area(known, view.camera.width, view.camera.height) > 0.5
    ignored = load_ignored(workspace, view)
    return sized if ignored is None else sized & ~ignored


def _joined(parts: list[Landmarks], most: int) -> Landmarks:
    try:
        return join(parts, most)
    except ValueError:
        raise InputError(
            "no local features lie on the object (it may be plain, or its masks wrong); go without: --local off"
        ) from None


def _write(folder: Path, learnt: LearntFeatures, photos: int) -> None:
    landmarks = learnt.landmarks
    tensors = {
        "points_obj": torch.as_tensor(landmarks.points_obj).float(),
        "obj_from_key": torch.as_tensor(landmarks.obj_from_key).float(),
        "extent": torch.as_tensor(landmarks.extent).float(),
        "descriptor": torch.as_tensor(landmarks.descriptor),
    }
    save_tensors(folder / "features.safetensors", tensors)
    record = FeaturesRecord(
        learnt.obj_from_world,
        learnt.metric,
        landmarks.diameter,
        learnt.hull is None,
        photos,
        len(landmarks.extent),
    )
    write_json(folder / "features.json", record)
