"""Colours and texture of the asset, and its files: what was photographed comes back, in every format."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from maquette.asset.atlas import Atlas, cut, make_atlas
from maquette.asset.components import neighbours
from maquette.asset.export import Finished, export_mesh
from maquette.asset.looks import Photo, blend, consensus, exposure_gains, look, trusted
from maquette.asset.texture import find_texels, from_field, from_photos, sharpened
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import look_at
from maquette.render.mesh import Mesh, MeshRenderer, load_mesh
from maquette.render.views import render_view

CAMERA = Camera(160, 160, 250.0, 250.0, 80.0, 80.0)
EYES = ([2.0, 0, 0.3], [-1, 1.7, 0.3], [-1, -1.7, 0.3], [1.4, 1.4, 0.5], [0.2, -1.9, 0.6])


def _mesh(solid: trimesh.Trimesh, colours: torch.Tensor | None = None) -> Mesh:
    return Mesh(torch.tensor(solid.vertices).float(), torch.tensor(solid.faces).int(), colours)


def _pattern(points: torch.Tensor) -> torch.Tensor:
    return 0.5 + 0.35 * torch.sin(9 * points)


def _ball() -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    return _mesh(ball, _pattern(torch.tensor(ball.vertices).float()))


def _photos(mesh: Mesh, gains: tuple[float, ...] = (1.0,) * 5) -> list[Photo]:
    """The ball on a bright red background, which must not get into its colours."""
    renderer, photos = MeshRenderer(mesh), []
    for eye, gain in zip(EYES, gains, strict=True):
        pose = look_at(np.array(eye), np.zeros(3), np.array([0.0, 0.0, 1.0]))
        view = render_view(renderer, CAMERA, pose)
        colour = np.where(view.mask.numpy()[..., None], view.colour.numpy() * gain, [1.0, 0, 0])
        pixels = np.round(colour.clip(0, 1) * 255).astype(np.uint8)
        photos.append(trusted(Photo(CAMERA, pose, pixels, view.mask.double().numpy())))
    return photos


def _graph(mesh: Mesh):
    return neighbours(mesh.faces.long().numpy(), len(mesh.vertices))


def _bare(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces)


def test_vertex_colours_come_back_from_photos_and_unseen_ones_are_filled() -> None:
    mesh = _ball()
    assert mesh.colours is not None
    looks = look(_bare(mesh), _photos(mesh), _graph(mesh))
    colours, well = blend(looks, mesh.vertices), looks.seen_by > 0
    assert well.float().mean() > 0.7 and (~well).any()
    assert (colours - mesh.colours)[well].abs().mean() < 0.02
    assert torch.isfinite(colours).all() and (colours[~well] > 0).all()


def test_a_texture_baked_from_photos_is_the_pattern_and_no_background_leaks_in() -> None:
    mesh = _ball()
    photos, graph = _photos(mesh), _graph(mesh)
    looks = look(_bare(mesh), photos, graph)
    surface = (mesh.vertices.double().numpy(), mesh.faces.long().numpy())
    texels = find_texels(make_atlas(surface, 256), 256)
    share = sharpened(looks, graph)
    image = from_photos(texels, _bare(mesh), photos, looks, share, blend(looks, mesh.vertices))
    seen = texels.on((looks.seen_by >= 1).float(), mesh.faces) > 0.99
    true = _pattern(texels.on(mesh.vertices, mesh.faces))
    found = torch.as_tensor(image[texels.row, texels.column]).float() / 255
    off = (found - true).abs().amax(-1)[seen]
    assert off.mean() < 0.03 and torch.quantile(off, 0.99) < 0.12
    assert not ((image[..., 0] > 240) & (image[..., 1] < 30)).any()


def test_exposure_is_evened_out_and_an_intruder_is_outvoted() -> None:
    mesh = _ball()
    assert mesh.colours is not None
    gains = (1.0, 0.85, 1.1, 1.0, 0.95)
    photos = _photos(mesh, gains)
    found = look(_bare(mesh), photos, _graph(mesh)).gains.mean(1)
    relative = found * torch.tensor(gains)
    assert float(relative.max() / relative.min()) < 1.06
    weight = torch.tensor([[1.0], [0.4], [0.4]])
    colour = torch.tensor([[[0.9, 0.1, 0.1]], [[0.2, 0.2, 0.2]], [[0.21, 0.2, 0.2]]])
    assert consensus(weight.sqrt(), colour)[0, 0] < 0.3
    assert (exposure_gains(weight, colour) == 1).all()


def test_the_masks_edge_is_not_trusted() -> None:
    mask = np.zeros((100, 100))
    mask[20:80, 20:80] = 1
    inner = trusted(Photo(CAMERA, np.eye(4), np.zeros((100, 100, 3), np.uint8), mask)).mask
    assert inner[20, 50] == 0 and inner[50, 50] == 1 and inner[10, 50] == 0


def test_a_texture_from_a_function_of_place_is_that_function() -> None:
    mesh = _ball()
    surface = (mesh.vertices.double().numpy(), mesh.faces.long().numpy())
    texels = find_texels(make_atlas(surface, 128), 128)
    image = from_field(texels, _bare(mesh), lambda p, n: 0.5 + 0.4 * n)
    found = torch.as_tensor(image[texels.row, texels.column]).float() / 255
    normal = torch.nn.functional.normalize(texels.on(mesh.vertices, mesh.faces), dim=-1)
    assert (found - 0.5 - 0.4 * normal).abs().max() < 0.02


@pytest.mark.parametrize("piece", [10_000, 700])
def test_no_two_faces_of_an_atlas_share_a_place_and_none_is_turned_over(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maquette.asset.atlas.PIECE", piece)
    knot = trimesh.util.concatenate(
        [
            trimesh.creation.torus(0.5, 0.2, major_sections=60, minor_sections=30),
            trimesh.creation.icosphere(subdivisions=3, radius=0.3),
        ]
    )
    surface = (np.array(knot.vertices), np.array(knot.faces))
    atlas = make_atlas(surface, 512)
    assert atlas.uv.min() >= 0 and atlas.uv.max() <= 1
    np.testing.assert_array_equal(atlas.source[atlas.faces], surface[1])
    corners = np.concatenate([atlas.uv[atlas.faces], np.zeros((len(surface[1]), 3, 1))], -1)
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    assert (area > 0).all()
    # Disjoint faces cover as much of the square, counted texel by texel, as they have area.
    covered = len(find_texels(atlas, 512).face) / 512**2
    assert covered == pytest.approx(area.sum() / 2, rel=0.02) and covered > 0.3


def test_a_fine_and_perfect_ball_gets_an_atlas() -> None:
    ball = trimesh.creation.icosphere(subdivisions=6)
    atlas = make_atlas((np.array(ball.vertices), np.array(ball.faces)), 512)
    np.testing.assert_array_equal(atlas.source[atlas.faces], ball.faces)


def test_places_are_cut_into_pieces_that_are_small_and_lie_together() -> None:
    places = np.random.default_rng(0).random((1000, 3)) * [4, 1, 1]
    pieces = cut(places, 130)
    np.testing.assert_array_equal(np.sort(np.concatenate(pieces)), np.arange(1000))
    assert len(pieces) == 8 and all(len(piece) == 125 for piece in pieces)
    assert all(np.ptp(places[piece], axis=0).max() < 1.2 for piece in pieces)
    assert [len(piece) for piece in cut(places[:3], 130)] == [3]


def _finished() -> Finished:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.1)
    surface = (np.array(ball.vertices) * [1, 0.8, 0.5], np.array(ball.faces))
    atlas: Atlas = make_atlas(surface, 64)
    rng = np.random.default_rng(0)
    texels = find_texels(atlas, 64)
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[texels.row, texels.column] = rng.integers(1, 255, (len(texels.face), 3))
    colours, seen = rng.random((len(ball.vertices), 3)), rng.integers(0, 300, len(ball.vertices))
    return Finished(surface[0], surface[1], colours, seen, atlas, texture)


def test_exported_files_open_again_with_an_independent_reader(tmp_path: Path) -> None:
    mesh = _finished()
    export_mesh(tmp_path, mesh, "m")
    ply = trimesh.load(tmp_path / "mesh.ply", process=False, force="mesh")
    assert isinstance(ply, trimesh.Trimesh)
    np.testing.assert_allclose(ply.vertices, mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(ply.faces, mesh.faces)
    colours = np.array(ply.visual.vertex_colors)[:, :3] / 255
    np.testing.assert_allclose(colours, mesh.colours, atol=0.5 / 255 + 1e-9)
    for name in ("mesh.obj", "mesh.glb"):
        again = trimesh.load(tmp_path / name, process=False, force="mesh")
        assert isinstance(again, trimesh.Trimesh) and len(again.faces) == len(mesh.faces)
        corners = mesh.vertices[mesh.faces]
        expected = corners if name == "mesh.obj" else corners[..., [0, 2, 1]] * [1, 1, -1]
        np.testing.assert_allclose(again.vertices[again.faces], expected, atol=1e-6)
        np.testing.assert_allclose(again.visual.uv[again.faces], mesh.atlas.uv[mesh.atlas.faces], atol=1e-5)
        material = again.visual.material
        image = material.image if name == "mesh.obj" else material.baseColorTexture
        np.testing.assert_array_equal(np.array(image.convert("RGB")), mesh.texture)


KINDS = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}


def _read_glb(path: Path) -> tuple[dict[str, np.ndarray], Image.Image, dict]:
    """The one mesh of a GLB by the letters of its standard (glTF 2.0, sections 3.6, 3.7 and 4.4)."""
    content = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    chunks, at = {}, 12
    while at < length:
        size, kind = struct.unpack_from("<I4s", content, at)
        assert size % 4 == 0
        chunks[kind], at = content[at + 8 : at + 8 + size], at + 8 + size
    tree, blob = json.loads(chunks[b"JSON"]), chunks[b"BIN\0"]

    def view(index: int) -> bytes:
        one = tree["bufferViews"][index]
        return blob[one.get("byteOffset", 0) :][: one["byteLength"]]

    def array(index: int) -> np.ndarray:
        one = tree["accessors"][index]
        data = view(one["bufferView"])[one.get("byteOffset", 0) :]
        width = WIDTHS[one["type"]]
        return np.frombuffer(data, KINDS[one["componentType"]], one["count"] * width).reshape(-1, width)

    (primitive,) = tree["meshes"][0]["primitives"]
    assert primitive.get("mode", 4) == 4
    arrays = {name: array(index) for name, index in primitive["attributes"].items()}
    arrays["faces"] = array(primitive["indices"]).reshape(-1, 3)
    material = tree["materials"][primitive["material"]]["pbrMetallicRoughness"]
    image = tree["images"][tree["textures"][material["baseColorTexture"]["index"]]["source"]]
    return arrays, Image.open(io.BytesIO(view(image["bufferView"]))), tree


def test_a_glb_is_what_the_standard_says(tmp_path: Path) -> None:
    mesh = _finished()
    export_mesh(tmp_path, mesh, "m")
    arrays, image, tree = _read_glb(tmp_path / "mesh.glb")
    y_up = (mesh.vertices[mesh.faces])[..., [0, 2, 1]] * [1, 1, -1]
    for node in tree["nodes"]:
        if "matrix" in node:
            np.testing.assert_allclose(np.reshape(node["matrix"], (4, 4)), np.eye(4), atol=1e-9)
        assert not set(node) & {"rotation", "scale", "translation"}
    np.testing.assert_allclose(arrays["POSITION"][arrays["faces"]], y_up, atol=1e-6)
    from_below = arrays["TEXCOORD_0"][arrays["faces"]] * [1, -1] + [0, 1]
    np.testing.assert_allclose(from_below, mesh.atlas.uv[mesh.atlas.faces], atol=1e-5)
    np.testing.assert_array_equal(np.array(image.convert("RGB")), mesh.texture)
    across = np.cross(y_up[:, 1] - y_up[:, 0], y_up[:, 2] - y_up[:, 0])
    assert (np.einsum("fi,fci->fc", across, arrays["NORMAL"][arrays["faces"]]) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(arrays["NORMAL"], axis=-1), 1, atol=1e-5)


def test_our_own_reader_sees_the_texture_where_it_was_painted(tmp_path: Path) -> None:
    mesh = _finished()
    export_mesh(tmp_path, mesh, "m")
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "texture.png")), mesh.texture)
    again = load_mesh(tmp_path / "mesh.obj")
    renderer = MeshRenderer(again)
    middle = again.vertices[again.faces.long()].mean(1)
    outward = torch.nn.functional.normalize(middle, dim=-1)
    hits = renderer.cast(middle + outward, -outward)
    np.testing.assert_array_equal(hits.face_idx.numpy(), np.arange(len(mesh.faces)))
    uv = mesh.atlas.uv[mesh.atlas.faces].mean(1)
    texel = mesh.texture[(64 * (1 - uv[:, 1])).astype(int), (64 * uv[:, 0]).astype(int)]
    near = np.abs(renderer.colours(hits).numpy() * 255 - texel).max(-1)
    assert np.median(near) < 128 and again.texture is not None


def test_the_glb_says_what_its_standard_wants_and_in_which_unit_it_is(tmp_path: Path) -> None:
    mesh = _finished()
    export_mesh(tmp_path, mesh, "sphere radius")
    data = (tmp_path / "mesh.glb").read_bytes()
    magic, version, length, size, kind = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, kind) == (b"glTF", 2, b"JSON") and length == len(data)
    header = json.loads(data[20 : 20 + size])
    primitive = header["meshes"][0]["primitives"][0]
    assert {"POSITION", "NORMAL", "TEXCOORD_0"} <= set(primitive["attributes"])
    low, high = (np.array(header["accessors"][primitive["attributes"]["POSITION"]][key]) for key in ("min", "max"))
    # y up: the height of the object (its z) is the extent along y, in its own unit and not scaled by any node.
    np.testing.assert_allclose(high - low, np.ptp(mesh.vertices, axis=0)[[0, 2, 1]], rtol=1e-5)
    for node in header["nodes"]:
        matrix = np.array(node.get("matrix", np.eye(4).ravel())).reshape(4, 4)
        np.testing.assert_allclose(matrix, np.eye(4))
    assert header["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert "sphere radius" in json.dumps(header)
    assert b"unit: sphere radius" in (tmp_path / "mesh.ply").read_bytes()[:200]
