"""What the poses are held against: our world aligned with the truth's, and the object in the truth's frame.

A similarity is found once per workspace, on camera centres of learnt photos of the same name, and is never
refined on what is scored.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from maquette.data.errors import InputError
from maquette.data.records import View
from maquette.geometry.align import robust_umeyama
from maquette.geometry.camera import Camera
from maquette.geometry.symmetry_set import symmetry_set
from maquette.geometry.transforms import Matrix4, apply, centre_of, inverse, scale_of, similarity
from maquette.render.mesh import Mesh


@dataclass(frozen=True)
class Alignment:
    """truth_from_world, the pairs it rests on and their median residual in the truth's unit."""

    truth_from_world: Matrix4
    rigid: bool
    pairs: int
    inliers: int
    residual: float


@dataclass(frozen=True)
class Target:
    """The true pose of one photo: rigid, lengths in the truth's unit."""

    photo: str
    cam_from_truth: Matrix4
    camera: Camera
    visible_fraction: float = 1.0


@dataclass(frozen=True)
class ObjectTruth:
    """The object in the truth's frame, lengths in the truth's unit: the metre where `metric`, else one of its own.

    `diameter` is None where nobody knows it; `symmetries` are truth_from_truth, with the identity.
    """

    truth_from_obj: Matrix4
    vertices: Float[np.ndarray, "vertex 3"]
    faces: Int[np.ndarray, "face 3"]
    symmetries: Float[np.ndarray, "symmetry 4 4"]
    diameter: float | None
    metric: bool
    targets: tuple[Target, ...]


def align(
    ours: dict[str, Float[np.ndarray, "3"]], theirs: dict[str, Float[np.ndarray, "3"]], rigid: bool
) -> Alignment:
    """Robust Umeyama on the camera centres both know, by photo name; `rigid` leaves the scale at one.

    Raises InputError where fewer than three are shared or they lie on a line.
    """
    names = sorted(set(ours) & set(theirs))
    if len(names) < 3:
        raise InputError(
            f"the truth and this workspace share {len(names)} learnt photos; at least 3 of the same file name are "
            f"needed to align them (here: {_some(ours)}; there: {_some(theirs)})"
        )
    a, b = np.stack([ours[n] for n in names]), np.stack([theirs[n] for n in names])
    try:
        b_from_a, inlier = robust_umeyama(a, b, with_scale=not rigid)
    except ValueError as error:
        raise InputError(
            f"the cameras of the {len(names)} photos that the truth shares cannot be aligned: {error}"
        ) from None
    residual = np.linalg.norm(apply(b_from_a, a) - b, axis=-1)
    return Alignment(b_from_a, rigid, len(names), int(inlier.sum()), float(np.median(residual)))


def centres(views: tuple[View, ...]) -> dict[str, Float[np.ndarray, "3"]]:
    """Camera centres by photo name."""
    return {view.name: centre_of(view.cam_from_world) for view in views}


def object_by_cameras(
    truth_views: tuple[View, ...],
    truthworld_from_obj: Matrix4,
    metres_per_unit: float | None,
    mesh_obj: Mesh,
    diameter: float | None,
    symmetries: Float[np.ndarray, "symmetry 4 4"] | None = None,
) -> ObjectTruth:
    """The truth where only cameras are known: the object is ours and stands still, each camera gives a pose.

    The truth's object frame is then our obj frame in metres, or in the truth's unit where `metres_per_unit` is
    None; `diameter` is in the same.
    `symmetries` are obj_from_obj, with the identity: nobody but our own mesh knows of any. None forgives none.
    """
    scale = 1.0 if metres_per_unit is None else metres_per_unit
    truth_from_obj = similarity(scale * scale_of(truthworld_from_obj), np.eye(3), np.zeros(3))
    stretch = np.diag([scale] * 3 + [1.0])
    world_from_truth = truthworld_from_obj @ inverse(truth_from_obj)
    targets = tuple(
        Target(view.name, stretch @ view.cam_from_world @ world_from_truth, view.camera) for view in truth_views
    )
    vertices = apply(truth_from_obj, mesh_obj.vertices.double().numpy())
    faces, metric = mesh_obj.faces.numpy(), metres_per_unit is not None
    same = symmetry_set() if symmetries is None else truth_from_obj @ symmetries @ inverse(truth_from_obj)
    return ObjectTruth(truth_from_obj, vertices, faces, same, diameter, metric, targets)


def photos_of_group(content: object, group: str, known: list[str], estimated: set[str]) -> list[str]:
    """The photos of a group in {"frames": {group: [numbers or names]}} (or {group: [...]}) that the truth knows.

    A number stands for the photo whose name is that number (118 for 0118.jpeg); of several, the estimated one.
    Raises InputError for a group that is not there or of which the truth knows no photo.
    """
    groups = content.get("frames", content) if isinstance(content, dict) else {}
    if not isinstance(groups, dict) or not isinstance(groups.get(group), list):
        names = [k for k, v in groups.items() if isinstance(v, list)] if isinstance(groups, dict) else []
        raise InputError(f"--photos has no group {group!r}; its groups: {', '.join(map(str, names)) or 'none'}")
    chosen = []
    for wanted in groups[group]:
        fits = [n for n in known if n == wanted or (isinstance(wanted, int) and _number(n) == wanted)]
        chosen += [n for n in fits if n in estimated] or fits
    if not chosen:
        raise InputError(f"the truth knows none of the {len(groups[group])} photos of the group {group!r}")
    return sorted(set(chosen))


def _number(name: str) -> int | None:
    stem = name.rsplit(".", 1)[0]
    return int(stem) if stem.isdecimal() else None


def _some(names: dict) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
