"""How far an estimated pose is from the true one, and how many are near enough.

The estimate is rigid in our unit of length; the truth has its own frame, reached by the similarity
`truth_from_obj` of scale s. A point y of the truth's object then lies, by the estimate, at
s (cam_from_obj truth_from_obj^-1 y) in the camera, in the truth's unit: rigid again.
ADD and ADD-S: Hinterstoisser et al. 2012. ADD alone knows of no symmetry.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from maquette.geometry.transforms import Matrix4, inverse, rotation_angle, scale_of
from maquette.scores.vertex import add, adi

IDENTITY = np.eye(4)[None]


@dataclass(frozen=True)
class PoseError:
    """One estimate against the truth; lengths as fractions of the diameter."""

    add_diameter: float
    adds_diameter: float
    rotation_deg: float
    translation_diameter: float


@dataclass(frozen=True)
class PoseSummary:
    """Shares of all targets; a target without an estimate (None) fails, and is infinitely wrong in a median."""

    add_recall_10: float
    adds_recall_10: float
    recall_5deg_5pct: float
    median_rotation_deg: float
    median_translation_diameter: float
    count: int


def cam_from_truth(cam_from_obj: Matrix4, truth_from_obj: Matrix4) -> Matrix4:
    """The estimate as the rigid cam_from_truth-object, lengths in the truth's unit."""
    scale = scale_of(truth_from_obj)
    return np.diag([scale, scale, scale, 1.0]) @ cam_from_obj @ inverse(truth_from_obj)


def pose_error(
    estimated: Matrix4,
    true: Matrix4,
    vertices: Float[np.ndarray, "vertex 3"],
    diameter: float,
    symmetries: Float[np.ndarray, "symmetry 4 4"] = IDENTITY,
) -> PoseError:
    """Both transforms are rigid, cam_from_truth-object; vertices and diameter in the same unit.

    Rotation and translation are those to the nearest, by its rotation, of the true poses that `symmetries` (truth's
    object onto itself) make.
    """
    equals = true @ symmetries
    cosines = np.einsum("ij,sij->s", estimated[:3, :3], equals[:, :3, :3])
    nearest = equals[cosines.argmax()]
    return PoseError(
        add(estimated, true, vertices) / diameter,
        adi(estimated, true, vertices, KDTree(vertices)) / diameter,
        rotation_error_deg(estimated, nearest),
        float(np.linalg.norm(estimated[:3, 3] - nearest[:3, 3])) / diameter,
    )


def rotation_error_deg(estimated: Matrix4, true: Matrix4) -> float:
    """The angle between two rigid transforms' rotations, in degrees."""
    return float(np.degrees(rotation_angle(estimated[:3, :3] @ true[:3, :3].T)))


def summarise(errors: list[PoseError | None]) -> PoseSummary:
    """Recalls and medians over all targets. Raises ValueError for no targets."""
    if not errors:
        raise ValueError("poses cannot be summed up without targets")
    worst = PoseError(np.inf, np.inf, np.inf, np.inf)
    known = [error or worst for error in errors]
    return PoseSummary(
        float(np.mean([e.add_diameter < 0.10 for e in known])),
        float(np.mean([e.adds_diameter < 0.10 for e in known])),
        float(np.mean([e.rotation_deg < 5 and e.translation_diameter < 0.05 for e in known])),
        float(np.median([e.rotation_deg for e in known])),
        float(np.median([e.translation_diameter for e in known])),
        len(known),
    )
