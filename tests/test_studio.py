"""The studio: textures, solids, objects, light, and a whole tiny capture whose truth must agree with its photos."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from maquette.data.captures import load_truth
from maquette.data.errors import InputError
from maquette.data.images import list_photos, read_depth, read_mask, read_photo
from maquette.data.records import Truth
from maquette.geometry.boxes import box_of
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import centre_of, look_at, rigid
from maquette.render.mesh import Mesh, MeshRenderer, load_mesh
from maquette.render.views import render_view
from maquette.studio import textures
from maquette.studio.capture import make_capture
from maquette.studio.config import StudioConfig
from maquette.studio.light import Lamp, Lighting, bake
from maquette.studio.objects import MAKERS, Thing, load_scan, make_object, subdivided
from maquette.studio.paint import PADDING, pack, paint, six_sides
from maquette.studio.photograph import Sensor, develop, sense_depth
from maquette.studio.room import on_table, scatter
from maquette.studio.scene import assemble, make_stock
from maquette.studio.solids import cylinder, rounded_box, surface
from maquette.studio.stage import run
from maquette.studio.viewpoints import rings

TINY = StudioConfig(
    object="cup", photos=6, width=120, height=80, test_photos=6, test_width=96, test_height=72, test_layouts=2,
    without_photos=1,
)  # fmt: skip


def patterns() -> dict[str, textures.Pattern]:
    rng = np.random.default_rng(1)
    inks, ground = textures.few_inks(rng), textures.palette(rng, 4)
    return {
        "printed": textures.printed(inks, ground),
        "mottled": textures.mottled(ground, inks),
        "wooden": textures.wooden(ground, inks),
        "poster": textures.poster(inks, ground),
        "spines": textures.spines(ground),
        "bands": textures.bands(ground),
        "rings": textures.rings(ground),
    }


def solid_of(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studio") / "capture"
    make_capture(folder, TINY, seed=3)
    return folder


@pytest.fixture(scope="module")
def truth(capture: Path) -> Truth:
    found = load_truth(capture)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def renderer(truth: Truth) -> MeshRenderer:
    return MeshRenderer(load_mesh(Path(str(truth.mesh))))


@pytest.mark.parametrize("name", sorted(patterns()))
def test_a_pattern_has_the_asked_size_and_comes_from_its_generator(name: str) -> None:
    make = patterns()[name]
    first, again, other = (make(61, 83, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.shape == (61, 83, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.std() > 5


def test_a_pattern_does_not_repeat(rng: np.random.Generator) -> None:
    image = patterns()["printed"](200, 200, rng).astype(float).mean(-1)
    image -= image.mean()
    echo = np.fft.ifft2(np.abs(np.fft.fft2(image)) ** 2).real
    echo /= echo[0, 0]
    near = np.minimum(np.arange(200), 200 - np.arange(200))
    far = np.hypot(near[:, None], near[None]) > 40
    assert echo[far].max() < 0.35


def test_distances_of_solids_agree_with_hand_calculation() -> None:
    points = np.array([[2.0, 0, 0], [0, 0, 0], [0, 0, 1.5]])
    np.testing.assert_allclose(rounded_box(points, (1.0, 1.0, 1.0), 0.1), [1.0, -1.0, 0.5], atol=1e-12)
    np.testing.assert_allclose(cylinder(points, 0.5, -1.0, 1.0, 0.1), [1.5, -0.5, 0.5], atol=1e-12)


def test_the_surface_of_a_ball_is_closed_round_and_faces_outwards() -> None:
    vertices, faces = surface(lambda p: np.linalg.norm(p, axis=-1) - 0.05, (-0.06,) * 3, (0.06,) * 3, 0.004)
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.05**3, rel=0.01)
    np.testing.assert_allclose(vertices.norm(dim=-1), 0.05, atol=2e-4)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_an_object_is_one_closed_mesh_in_metres_around_its_origin(name: str, rng: np.random.Generator) -> None:
    thing = make_object(name, None, rng, 0.0025)  # type: ignore[arg-type]
    solid = solid_of(thing.mesh)
    assert solid.is_watertight and solid.volume > 0 and solid.body_count == 1
    np.testing.assert_allclose(solid.bounds.mean(0), 0, atol=1e-6)
    assert 0.1 < solid.extents.max() < 0.26
    colours = thing.mesh.vertex_colours
    assert colours is not None and colours.std() > 0.05


def test_the_background_shows_through_the_handle_of_the_cup(rng: np.random.Generator) -> None:
    caster = MeshRenderer(make_object("cup", None, rng, 0.002).mesh)
    x = torch.linspace(-0.08, 0.08, 161)
    hits = caster.cast(torch.stack([x, 0 * x - 1, 0 * x], -1), torch.tensor([[0.0, 1, 0]]).expand(161, 3))
    runs = np.flatnonzero(np.diff(torch.isfinite(hits.distance).int().numpy()))
    # nothing, the wall, the hole, the handle, nothing
    assert len(runs) == 4 and 0.01 < x[runs[2]] - x[runs[1]] < 0.04


def test_the_thin_object_has_a_rod_of_seven_millimetres(rng: np.random.Generator) -> None:
    vertices = make_object("thin", None, rng, 0.002).mesh.vertices
    rod = vertices[(vertices[:, 2] > -0.03) & (vertices[:, 2] < 0.0)]
    assert len(rod) and float(np.ptp(rod[:, 1].numpy())) == pytest.approx(0.007, abs=4e-4)


def test_the_can_looks_the_same_however_it_is_turned(rng: np.random.Generator) -> None:
    thing = make_object("can", None, rng, 0.002)
    renderer, camera = MeshRenderer(thing.mesh), Camera(96, 96, 200.0, 200.0, 48.0, 48.0)
    images = []
    for azimuth in (0.3, 1.9):
        eye = 0.5 * np.array([np.cos(azimuth), np.sin(azimuth), 0.4])
        images.append(render_view(renderer, camera, look_at(eye, np.zeros(3), np.array([0, 0, 1.0]))).colour)
    assert (images[0] - images[1]).abs().mean() < 0.01


def test_words_are_not_mirrored_on_any_side(rng: np.random.Generator) -> None:
    vertices, faces = surface(lambda p: rounded_box(p, (0.03, 0.04, 0.05), 0.002), (-0.06,) * 3, (0.06,) * 3, 0.004)
    mesh = paint(vertices, faces, six_sides(patterns()["mottled"]), rng)
    assert mesh.uv is not None
    side = mesh.uv[:, 1:] - mesh.uv[:, :1]
    turn = side[:, 0, 0] * side[:, 1, 1] - side[:, 0, 1] * side[:, 1, 0]
    # Counter-clockwise on the outside is counter-clockwise in the texture (v up).
    assert (turn > -1e-9).all() and (turn > 0).float().mean() > 0.95


def test_a_bare_face_is_an_error(rng: np.random.Generator) -> None:
    vertices, faces = surface(lambda p: np.linalg.norm(p, axis=-1) - 0.05, (-0.06,) * 3, (0.06,) * 3, 0.01)
    with pytest.raises(ValueError, match="claimed by no print"):
        paint(vertices, faces, six_sides(patterns()["rings"])[:3], rng)


def test_packed_images_come_back_whole_and_padded(rng: np.random.Generator) -> None:
    pieces = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((30, 50), (5, 4000), (64, 300), (8, 8))]
    sheet, places = pack(pieces)
    for piece, (x, y) in zip(pieces, np.array(places, int), strict=True):
        height, width = piece.shape[:2]
        assert np.array_equal(sheet[y : y + height, x : x + width], piece)
        assert (sheet[y - PADDING : y, x] == piece[0, 0]).all()


def test_subdividing_keeps_shape_and_texture_coordinates(rng: np.random.Generator) -> None:
    vertices, faces = surface(lambda p: np.linalg.norm(p, axis=-1) - 0.05, (-0.06,) * 3, (0.06,) * 3, 0.02)
    mesh = paint(vertices, faces, six_sides(patterns()["mottled"]), rng)
    finer = subdivided(mesh)
    assert len(finer.faces) == 4 * len(mesh.faces) and solid_of(finer).is_watertight
    assert solid_of(finer).volume == pytest.approx(solid_of(mesh).volume)
    assert mesh.uv is not None and finer.uv is not None
    np.testing.assert_allclose(finer.uv.reshape(-1, 4, 3, 2)[:, 3].mean(1), mesh.uv.mean(1), atol=1e-6)


def test_a_lamp_overhead_lights_the_floor_and_a_box_shades_it(rng: np.random.Generator) -> None:
    def flat(size: float, z: float, count: int) -> Thing:
        grid = trimesh.creation.box((size, size, 1e-4))
        for _ in range(count):
            grid = grid.subdivide()
        vertices = torch.as_tensor(np.array(grid.vertices + [0, 0, z])).float()
        return Thing(Mesh(vertices, torch.as_tensor(np.array(grid.faces)).int(), torch.ones_like(vertices)), 0.0)

    lighting = Lighting((Lamp((0.0, 0.0, 2.0), 0.1, (1.0, 1.0, 1.0)),), (0.0, 0.0, 0.0))
    scene = assemble(make_stock([flat(1.0, 0, 4), flat(0.2, 0.1, 0)]), [(0, np.eye(4)), (1, np.eye(4))])
    look, vertices = bake(scene, lighting), scene.caster.vertices
    top = (vertices[:, 2] > 4e-5) & (vertices[:, 2] < 0.01)
    away = vertices[:, :2].norm(dim=-1)
    assert look.received[top & (away < 0.08)].max() == 0
    corner = torch.nonzero(top & (away > 0.7))[0, 0]
    squared = float(vertices[corner].sub(torch.tensor([0, 0, 2.0])).square().sum())
    expected = (2 / np.sqrt(squared)) * 4 / squared
    np.testing.assert_allclose(look.received[corner], expected, rtol=0.01)


def test_development_keeps_black_black_and_never_wraps() -> None:
    light = torch.tensor([0.0, 0.2, 50.0]).reshape(1, 3, 1).expand(8, 3, 3).contiguous()
    photo = develop(light, Sensor(1.0, 0.0, 0.0), np.random.default_rng(0))
    assert (
        photo[0, 0, 0] == 0
        and photo[0, 1, 0] == pytest.approx(255 * 0.2 ** (1 / 2.2), abs=1)
        and photo[0, 2, 0] > 250
    )


def test_scattered_things_do_not_touch(rng: np.random.Generator) -> None:
    things = [make_object("can", None, rng, 0.005) for _ in range(5)]
    around = on_table(things[0], 0.02, -0.03, 1.0)
    places = [place for place in scatter(things, around, 0.1, (0.01, 0.1), rng) if place is not None]
    assert len(places) >= 3
    spots = np.array([place[:2, 3] for place in places])
    apart = np.linalg.norm(spots[:, None] - spots[None], axis=-1)[np.triu_indices(len(spots), 1)]
    assert apart.min() > 2 * things[0].radius
    assert np.linalg.norm(spots - around[:2, 3], axis=-1).min() > 0.1 + things[0].radius


def test_rings_go_round_the_object_at_three_heights(rng: np.random.Generator) -> None:
    centres = np.array([centre_of(view) for view in rings(48, np.array([0.1, 0.2, 0.1]), 0.8, rng)]) - [
        0.1,
        0.2,
        0.1,
    ]
    elevation = np.degrees(np.arcsin(centres[:, 2] / np.linalg.norm(centres, axis=-1)))
    assert 13 < elevation.min() < 25 and 54 < elevation.max() < 66 and len(centres) == 48
    azimuth = np.sort(np.arctan2(centres[:19, 1], centres[:19, 0]))
    assert np.diff(azimuth).max() < 0.7


def test_a_capture_has_its_layout(capture: Path, truth: Truth) -> None:
    names = [f"{idx:04d}" for idx in range(6)]
    assert [path.stem for path in list_photos(capture / "photos")] == names
    assert [path.stem for path in list_photos(capture / "masks")] == names
    assert [path.stem for path in list_photos(capture / "test" / "photos")] == names
    assert len(list_photos(capture / "without" / "photos")) == 1
    assert [view.name for view in truth.views] == [f"{name}.jpg" for name in names]
    assert read_photo(capture / "photos" / "0000.jpg").shape == (80, 120, 3)
    camera = json.loads((capture / "test" / "camera.json").read_text())
    assert camera["pixel_centre"] == "half" and camera["params"][0] == truth.tests[0].camera.fx
    assert truth.metric and truth.diameter == pytest.approx(0.158, abs=0.004)


def test_masks_are_the_silhouettes_of_the_true_mesh(capture: Path, truth: Truth, renderer: MeshRenderer) -> None:
    assert truth.world_from_obj is not None
    overlaps = []
    for view in truth.views:
        mask = read_mask(capture / "masks" / f"{Path(view.name).stem}.png")
        whole = render_view(renderer, view.camera, view.cam_from_world @ truth.world_from_obj).mask.numpy()
        assert (mask & ~whole).sum() <= 2
        overlaps.append((mask & whole).sum() / (mask | whole).sum())
    assert np.mean(overlaps) > 0.97 and max(overlaps) > 0.99


def test_photos_show_the_true_mesh_where_its_mask_is(capture: Path, truth: Truth, renderer: MeshRenderer) -> None:
    """Colours under different light still rise and fall together; a wrong pose would break that."""
    agreements = []
    for view in truth.views:
        photo = read_photo(capture / "photos" / view.name).astype(float)
        assert truth.world_from_obj is not None
        rendering = render_view(renderer, view.camera, view.cam_from_world @ truth.world_from_obj)
        inside = rendering.mask.numpy()
        chroma = [c[inside] - c[inside].mean(-1, keepdims=True) for c in (photo, rendering.colour.numpy())]
        agreements.append(np.corrcoef(chroma[0].ravel(), chroma[1].ravel())[0, 1])
    assert min(agreements) > 0.6


def test_test_poses_agree_with_boxes_and_hidden_shares(truth: Truth, renderer: MeshRenderer) -> None:
    for test in truth.tests:
        whole = render_view(renderer, test.camera, test.cam_from_obj).mask.numpy()
        box = box_of(whole)
        assert box is not None
        np.testing.assert_allclose(box, test.box, atol=1)
        assert 0.7 <= test.visible_fraction <= 1.0
        assert test.camera != truth.views[0].camera
    assert min(test.visible_fraction for test in truth.tests) < 0.97


def test_test_depths_are_the_true_meshs_where_nothing_hides_it(
    capture: Path, truth: Truth, renderer: MeshRenderer
) -> None:
    gaps = []
    for test in truth.tests:
        depth = read_depth(capture / "test" / "depth" / f"{Path(test.photo).stem}.png", 0.001)
        rendered = render_view(renderer, test.camera, test.cam_from_obj).depth.numpy()
        both = (rendered > 0) & (depth > 0)
        assert both.any()
        # What hides the object is nearer; else they differ by the sensor's noise.
        assert (depth[both] < rendered[both] + 0.012).all()
        gaps.append(np.abs(depth - rendered)[both])
    assert 2e-4 < np.median(np.concatenate(gaps)) < 3e-3


def test_sensed_depth_is_lost_at_jumps_and_far_away_and_noisier_with_distance() -> None:
    depth = torch.full((40, 90), 1.0)
    depth[:, 30:60], depth[:, 60:] = 3.0, torch.inf
    sensed = sense_depth(depth, np.random.default_rng(0))
    assert (sensed[:, 29:31] == 0).all() and (sensed[:, 59:] == 0).all()
    assert sensed[:, :29].std() == pytest.approx(0.0012 + 0.0019 * 0.36, rel=0.1)
    assert sensed[:, 31:59].std() == pytest.approx(0.0012 + 0.0019 * 6.76, rel=0.1)


def test_only_the_can_has_an_axis(tmp_path: Path, truth: Truth) -> None:
    make_capture(tmp_path / "can", replace(TINY, photos=1, test_photos=0, without_photos=0, object="can"), 1)
    can = load_truth(tmp_path / "can")
    assert can is not None and can.symmetries_continuous == (((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),)
    assert truth.symmetries_continuous == ()


def test_the_same_seed_gives_the_same_capture(tmp_path: Path) -> None:
    small = replace(TINY, photos=1, test_photos=1, without_photos=0, width=48, height=32, object="can")
    for name in ("a", "b"):
        make_capture(tmp_path / name, small, 1)
    for file in ("photos/0000.jpg", "masks/0000.png", "test/photos/0000.jpg", "truth.json", "mesh.ply"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_stage_skips_what_is_there_and_says_what_differs(tmp_path: Path) -> None:
    bare = replace(TINY, photos=1, test_photos=0, without_photos=0, width=48, height=32, object="can")
    assert run(tmp_path / "made", bare).seconds > 0
    assert run(tmp_path / "made", bare).seconds == 0
    with pytest.raises(InputError, match=r"studio\.noise was 0\.008 and is now 0\.02"):
        run(tmp_path / "made", replace(bare, noise=0.02))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="not a capture of the studio"):
        run(tmp_path / "other", bare, overwrite=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photos": 0}, "--photos is 0: expected at least 1"),
        ({"test_width": 5}, "--test-width is 5: expected at least 32"),
        ({"hidden": 1.0}, "--hidden is 1.0: expected a share"),
        ({"fill": 2.0}, "--fill is 2.0: expected 0.1 to 0.8"),
        ({"object": "scan"}, "add --scan FILE"),
        ({"object": "scan", "scan": Path("nowhere.obj")}, "nowhere.obj is missing"),
    ],
)
def test_bad_requests_say_what_was_expected(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        make_capture(tmp_path / "made", replace(TINY, **change), 0)
    assert not list(tmp_path.iterdir())


def test_a_scan_in_millimetres_is_refused(tmp_path: Path) -> None:
    trimesh.creation.box((100, 200, 50)).export(tmp_path / "box.ply")
    with pytest.raises(InputError, match="expected a mesh in metres"):
        load_scan(tmp_path / "box.ply")


def test_a_scan_with_vertex_colours_keeps_them_in_the_photos(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(3, 0.1)
    ball.visual.vertex_colors = np.tile([[20, 200, 40, 255]], (len(ball.vertices), 1))  # type: ignore[union-attr]
    ball.export(tmp_path / "ball.ply")
    stock = make_stock([load_scan(tmp_path / "ball.ply")])
    scene = assemble(stock, [(0, rigid(np.eye(3), np.zeros(3)))])
    look = bake(scene, Lighting((Lamp((0.0, 0.0, 2.0), 0.1, (0.0, 0.0, 0.0)),), (1.0, 1.0, 1.0)))
    np.testing.assert_allclose(look.received[0] ** (1 / 2.2) * 255, [20, 200, 40], atol=1)


def test_a_textured_scan_stands_in_for_the_object(real_data: Path, tmp_path: Path) -> None:
    scan = real_data / "ycb" / "mustard_bottle" / "textured.obj"
    small = replace(TINY, photos=2, test_photos=0, without_photos=0, object="scan", scan=scan)
    make_capture(tmp_path / "made", small, 0)
    found = load_truth(tmp_path / "made")
    assert found is not None and found.diameter == pytest.approx(0.2, abs=0.03)
    assert read_mask(tmp_path / "made" / "masks" / "0001.png").mean() > 0.01
