# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false
"""First hits of rays on a triangle mesh: Warp's bounding volume hierarchy, and the same by brute force."""

from dataclasses import dataclass

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor

from maquette.kernels.launch import launch_in_slices, start


@dataclass(frozen=True)
class Hits:
    """Per ray: distance along the direction (inf where nothing is hit), face (-1) and weights of its corners."""

    distance: Float[Tensor, "ray"]
    face_idx: Int[Tensor, "ray"]
    barycentric: Float[Tensor, "ray 3"]


@wp.kernel
def _cast(
    mesh: wp.uint64,
    first: int,
    origins: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    directions: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    distance: wp.array(dtype=float),  # type: ignore[valid-type]
    face_idx: wp.array(dtype=int),  # type: ignore[valid-type]
    barycentric: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
):
    ray = first + wp.tid()
    query = wp.mesh_query_ray(mesh, origins[ray], directions[ray], 1.0e30)
    if query.result:
        distance[ray] = query.t
        face_idx[ray] = query.face
        u, v = query.u, query.v
        barycentric[ray] = wp.vec3(u, v, 1.0 - u - v)


class RayCaster:
    """A mesh ready for ray casting. Vertices and faces stay on their device."""

    def __init__(self, vertices: Float[Tensor, "vertex 3"], faces: Int[Tensor, "face 3"]) -> None:
        start(__name__, vertices.device)
        if len(faces) == 0:
            raise ValueError("a mesh without faces cannot be ray-cast")
        self.vertices = vertices.detach().float().contiguous()
        self.faces = faces.to(self.vertices.device).int().contiguous()
        self._mesh = wp.Mesh(
            points=wp.from_torch(self.vertices, dtype=wp.vec3), indices=wp.from_torch(self.faces.flatten())
        )

    @property
    def mesh_id(self) -> wp.uint64:
        """The mesh's handle, for other kernels that query it."""
        return self._mesh.id

    def cast(self, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"]) -> Hits:
        """First hits; distances are in units of the directions' length."""
        count, device = len(origins), self.vertices.device
        origins = origins.detach().to(device).float().contiguous()
        directions = directions.detach().to(device).float().contiguous()
        hits = Hits(
            torch.full((count,), torch.inf, device=device),
            torch.full((count,), -1, dtype=torch.int32, device=device),
            torch.zeros(count, 3, device=device),
        )
        if count == 0:
            return hits
        arrays = [
            wp.from_torch(origins, dtype=wp.vec3),
            wp.from_torch(directions, dtype=wp.vec3),
            wp.from_torch(hits.distance),
            wp.from_torch(hits.face_idx),
            wp.from_torch(hits.barycentric, dtype=wp.vec3),
        ]
        launch_in_slices(_cast, count, lambda first: [self._mesh.id, first, *arrays], device)
        return hits


def cast_plain(
    vertices: Float[Tensor, "vertex 3"],
    faces: Int[Tensor, "face 3"],
    origins: Float[Tensor, "ray 3"],
    directions: Float[Tensor, "ray 3"],
) -> Hits:
    """The twin: every ray against every face (Moeller and Trumbore 1997). Memory grows with rays x faces."""
    a, b, c = (vertices[faces[:, corner].long()] for corner in range(3))
    edge_b, edge_c = b - a, c - a
    across = torch.linalg.cross(directions[:, None], edge_c[None])
    det = (edge_b * across).sum(-1)
    safe = torch.where(det.abs() < 1e-12, torch.ones_like(det), det)
    from_a = origins[:, None] - a
    v = (from_a * across).sum(-1) / safe
    turned = torch.linalg.cross(from_a, edge_b.expand_as(from_a))
    w = (directions[:, None] * turned).sum(-1) / safe
    t = (edge_c * turned).sum(-1) / safe
    hit = (det.abs() >= 1e-12) & (v >= 0) & (w >= 0) & (v + w <= 1) & (t > 0)
    distance, face = torch.where(hit, t, torch.inf).min(dim=1)
    found = torch.isfinite(distance)
    ray = torch.arange(len(origins))
    v, w = v[ray, face], w[ray, face]
    barycentric = torch.stack([1 - v - w, v, w], -1) * found[:, None]
    return Hits(distance, torch.where(found, face, -1).int(), barycentric)
