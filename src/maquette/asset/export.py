"""The object's mesh as files that other programs open: PLY with vertex colours, OBJ and GLB with a texture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Int, UInt8
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from maquette.asset.atlas import Atlas
from maquette.data.images import as_bytes
from maquette.geometry.transforms import Matrix4, rigid

Y_UP_FROM_Z_UP: Matrix4 = rigid(np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]), np.zeros(3))


@dataclass(frozen=True)
class Finished:
    """A mesh in obj with everything that is written: colours, how many photos see each vertex, atlas, texture."""

    vertices: Float[np.ndarray, "vertex 3"]
    faces: Int[np.ndarray, "face 3"]
    colours: Float[np.ndarray, "vertex 3"]
    seen_by: Int[np.ndarray, "vertex"]
    atlas: Atlas
    texture: UInt8[np.ndarray, "side side 3"]


def export_mesh(folder: Path, mesh: Finished, unit: str) -> None:
    """mesh.ply, mesh.obj with mesh.mtl and texture.png, mesh.glb; `unit` (m or sphere radius) stands in each.

    PLY and OBJ are z up; GLB is y up, as its standard says. PLY has a column `seen_by`.
    """
    Image.fromarray(mesh.texture).save(folder / "texture.png")
    _write_ply(folder / "mesh.ply", mesh, unit)
    _write_obj(folder, mesh, unit)
    _write_glb(folder / "mesh.glb", mesh, unit)


def _write_ply(path: Path, mesh: Finished, unit: str) -> None:
    """Binary, little-endian: x y z (float32), red green blue, seen_by (0..255), and triangles."""
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    rows = np.empty(len(mesh.vertices), dtype=[*columns, ("seen_by", "u1")])
    colours = as_bytes(mesh.colours)
    for axis in range(3):
        rows["xyz"[axis]] = mesh.vertices[:, axis]
        rows[("red", "green", "blue")[axis]] = colours[:, axis]
    rows["seen_by"] = np.minimum(mesh.seen_by, 255)
    triangles = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    triangles["count"], triangles["corners"] = 3, mesh.faces
    kinds = [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in columns]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment Maquette; z up; unit: {unit}",
        f"element vertex {len(rows)}",
        *kinds,
        "property uchar seen_by",
        f"element face {len(triangles)}",
        "property list uchar int vertex_indices",
        "end_header",
    ]
    path.write_bytes("\n".join([*header, ""]).encode("ascii") + rows.tobytes() + triangles.tobytes())


def _write_obj(folder: Path, mesh: Finished, unit: str) -> None:
    lines = ["newmtl object", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "illum 1", "map_Kd texture.png", ""]
    (folder / "mesh.mtl").write_text("\n".join(lines))
    corners = np.stack([mesh.faces, mesh.atlas.faces], axis=-1).reshape(-1, 6) + 1
    with open(folder / "mesh.obj", "w") as file:
        file.write(f"# Maquette; z up; unit: {unit}\nmtllib mesh.mtl\nusemtl object\n")
        np.savetxt(file, mesh.vertices, "v %.7g %.7g %.7g")
        np.savetxt(file, mesh.atlas.uv, "vt %.6f %.6f")
        np.savetxt(file, corners, "f %d/%d %d/%d %d/%d")


def _write_glb(path: Path, mesh: Finished, unit: str) -> None:
    """Vertices are split where charts meet; normals are those of the whole surface, so no seam shows in shading."""
    whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    normals = np.asarray(whole.vertex_normals)[mesh.atlas.source]
    material = PBRMaterial(
        baseColorTexture=Image.fromarray(mesh.texture), metallicFactor=0.0, roughnessFactor=1.0, name="object"
    )
    split = trimesh.Trimesh(
        mesh.vertices[mesh.atlas.source],
        mesh.atlas.faces,
        vertex_normals=normals,
        visual=TextureVisuals(uv=mesh.atlas.uv, material=material),
        metadata={"unit": unit},
        process=False,
    )
    split.apply_transform(Y_UP_FROM_Z_UP)
    path.write_bytes(export_glb(trimesh.Scene({"object": split}), include_normals=True))
