"""Two assets of one object laid on each other: `maquette align A B`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maquette.asset.symmetries import surface_cloud
from maquette.data.errors import InputError
from maquette.data.formats.door import Value
from maquette.data.formats.geometry import check_object_size
from maquette.data.jsonio import read_record
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.geometry.register import register
from maquette.geometry.transforms import Matrix4, rotation_angle, rotation_of, scale_of
from maquette.kernels.closest import distance_to_mesh
from maquette.render.mesh import Mesh, load_mesh

IN_METRES = "a mesh file is taken to be in metres: export it in metres, or give --scale free"


@dataclass(frozen=True)
class AssetAlignment:
    """`b_from_a`, and the root mean square distance of the surfaces then, both ways, in b's unit."""

    b_from_a: Matrix4
    rms: float
    rms_over_diameter: float
    scale: float
    rotation_deg: float


def align_assets(a: Mesh, b: Mesh, with_scale: bool, seed: int = 0, points: int = 4000) -> AssetAlignment:
    """The similarity (rigid where not `with_scale`) that lays mesh a on mesh b, from any relative position.

    The meshes are of one object, each nearly whole. Colours decide between the turns of a symmetric shape where
    both have them.
    """
    rng = np.random.default_rng(seed)
    found = register(surface_cloud(a, points, rng), surface_cloud(b, points, rng), with_scale, rng)
    rms = surfaces_apart(a.transformed(found), b, rng, points)
    angle = float(np.degrees(rotation_angle(rotation_of(found))))
    return AssetAlignment(found, rms, rms / b.diameter, scale_of(found), angle)


def surfaces_apart(a: Mesh, b: Mesh, rng: np.random.Generator, points: int = 4000) -> float:
    """Root mean square distance of two surfaces of one frame, both ways."""
    there = distance_to_mesh(a.sample(points, rng), b.vertices, b.faces).double()
    back = distance_to_mesh(b.sample(points, rng), a.vertices, a.faces).double()
    return float((0.5 * ((there**2).mean() + (back**2).mean())).sqrt())


def align_paths(path_a: Path, path_b: Path, scale_free: bool | None = None) -> AssetAlignment:
    """The same for workspaces or mesh files. The scale is free where one of them is not metric, unless told.

    Raises InputError where there is no mesh, or where lengths count and a file's is not in metres.
    """
    (a, metric_a), (b, metric_b) = _mesh_at(path_a), _mesh_at(path_b)
    with_scale = not (metric_a and metric_b) if scale_free is None else scale_free
    if not with_scale:
        for path, mesh in ((path_a, a), (path_b, b)):
            if path.is_file():
                check_object_size(Value(None, path, "its vertices"), mesh.diameter, "metres", 1.0, IN_METRES)
    return align_assets(a, b, with_scale)


def describe(found: AssetAlignment) -> str:
    """The transform, row by row, and how well it fits."""
    rows = "\n".join("  " + " ".join(f"{value: .6f}" for value in row) for row in found.b_from_a)
    return (
        f"b_from_a:\n{rows}\nscale {found.scale:.6g}, turn {found.rotation_deg:.3f} degrees; surfaces "
        f"{found.rms:.4g} apart (root mean square), {found.rms_over_diameter:.2%} of the diameter"
    )


def _mesh_at(path: Path) -> tuple[Mesh, bool]:
    """A workspace's mesh and whether it is metric; a mesh file is taken to be in metres."""
    if not path.exists():
        raise InputError(f"{path} is missing: expected a workspace or a mesh file (.ply, .obj, .glb)")
    if path.is_file():
        return load_mesh(path), True
    folder = Workspace(path).require("asset", "asset.json", "mesh.ply")
    return load_mesh(folder / "mesh.ply"), read_record(folder / "asset.json", Asset).metric
