# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false
"""The nearest points of a triangle mesh: Warp's bounding volume hierarchy, and their distance by brute force."""

from dataclasses import dataclass

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from maquette.kernels.launch import launch_in_slices, start


@dataclass(frozen=True)
class Nearest:
    """Per point: how far the surface is (no sign), where it is nearest, and on which face."""

    distance: Float[Tensor, "point"]
    place: Float[Tensor, "point 3"]
    face_idx: Int[Tensor, "point"]


@wp.kernel(enable_backward=False)
def _nearest(
    mesh: wp.uint64,
    first: int,
    points: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    distance: wp.array(dtype=float),  # type: ignore[valid-type]
    place: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    face_idx: wp.array(dtype=int),  # type: ignore[valid-type]
):
    at = first + wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[at], 1.0e30)
    if query.result:
        place[at] = wp.mesh_eval_position(mesh, query.face, query.u, query.v)
        distance[at] = wp.length(points[at] - place[at])
        face_idx[at] = query.face


class ClosestPoints:
    """A mesh ready to be asked for its nearest points. Vertices and faces stay on their device."""

    def __init__(self, vertices: Float[Tensor, "vertex 3"], faces: Int[Tensor, "face 3"]) -> None:
        start(__name__, vertices.device)
        if len(faces) == 0:
            raise ValueError("a mesh without faces has no surface to be near to")
        self._vertices = vertices.detach().float().contiguous()
        self._faces = faces.to(vertices.device).int().contiguous()
        self._mesh = wp.Mesh(
            points=wp.from_torch(self._vertices, dtype=wp.vec3), indices=wp.from_torch(self._faces.flatten())
        )

    def nearest(self, points: Float[Tensor, "point 3"]) -> Nearest:
        """The nearest point of the surface to each point."""
        device = self._vertices.device
        points = points.detach().to(device).float().contiguous()
        nearest = Nearest(
            torch.full((len(points),), torch.inf, device=device),
            torch.zeros(len(points), 3, device=device),
            torch.full((len(points),), -1, dtype=torch.int32, device=device),
        )
        if len(points) == 0:
            return nearest
        arrays = [
            wp.from_torch(points, dtype=wp.vec3),
            wp.from_torch(nearest.distance),
            wp.from_torch(nearest.place, dtype=wp.vec3),
            wp.from_torch(nearest.face_idx),
        ]
        launch_in_slices(_nearest, len(points), lambda first: [self._mesh.id, first, *arrays], device)
        return nearest


def distance_to_mesh(
    points: Float[Tensor, "point 3"], vertices: Float[Tensor, "vertex 3"], faces: Int[Tensor, "face 3"]
) -> Float[Tensor, "point"]:
    """How far each point is from the nearest point of the surface, without a sign."""
    return ClosestPoints(vertices, faces).nearest(points).distance


def distance_to_mesh_plain(
    points: Float[Tensor, "point 3"], vertices: Float[Tensor, "vertex 3"], faces: Int[Tensor, "face 3"]
) -> Float[Tensor, "point"]:
    """The twin: every point against every face. Memory grows with points x faces.

    The nearest point of a triangle is its plane's where that falls inside, else the nearest of its three edges.
    """
    a, b, c = (vertices[faces[:, corner].long()] for corner in range(3))
    normal = torch.linalg.cross(b - a, c - a)
    offset = points[:, None] - a
    inside = torch.ones(len(points), len(faces), dtype=torch.bool)
    edge_distance = torch.full((len(points), len(faces)), torch.inf)
    for start_corner, end_corner in ((a, b), (b, c), (c, a)):
        edge = end_corner - start_corner
        from_start = points[:, None] - start_corner
        inside &= (torch.linalg.cross(edge.expand_as(from_start), from_start) * normal).sum(-1) >= 0
        along = ((from_start * edge).sum(-1) / (edge * edge).sum(-1).clamp(min=1e-20)).clamp(0, 1)
        edge_distance = torch.minimum(edge_distance, (from_start - along[..., None] * edge).norm(dim=-1))
    plane = (offset * normal).sum(-1).abs() / normal.norm(dim=-1).clamp(min=1e-20)
    return torch.where(inside, plane, edge_distance).amin(1)
