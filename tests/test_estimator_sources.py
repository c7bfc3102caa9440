"""Crops from real photos, BOP images and fields: their truth must hold to the pixel, and no place may be learnt."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from jaxtyping import Float
from torch import Tensor

from maquette.data.errors import InputError
from maquette.data.formats.bop_models import read_models
from maquette.data.formats.bop_scene import read_scene
from maquette.data.images import read_mask, read_photo
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.estimator.appearance import Appearance
from maquette.estimator.batches import Scene
from maquette.estimator.bop_images import find_scenes, load_bop_shots, object_of
from maquette.estimator.dressing import Dressing
from maquette.estimator.feeder import BatchMaker, Mixed
from maquette.estimator.occluders import Occlusion
from maquette.estimator.photos import PhotoCrops, Shot, warped
from maquette.estimator.radiance import FieldRadiance, towards
from maquette.estimator.sources import (
    SourceConfig,
    capture_shots,
    check_sources,
    open_scene,
    open_sources,
    with_camera,
    write_bop,
)
from maquette.estimator.viewpoints import ViewRange
from maquette.estimator.written import write_views
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.geometry.transforms import apply, similarity
from maquette.render.mesh import Mesh, load_mesh
from toys import Toy, make_toy

STILL = Appearance(exposure=0.0, white_balance=0.0, blur=0.0, noise=0.0, jpeg=0.0, ground_shadow=0.0)
GREY = np.full((64, 64, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("toy") / "w")


@pytest.fixture(scope="module")
def scene(toy: Toy) -> Scene:
    return Scene(load_mesh(toy.workspace.asset / "mesh.ply"), 64)


@pytest.fixture(scope="module")
def shots(toy: Toy, scene: Scene) -> list[Shot]:
    return capture_shots(toy.workspace, toy.asset, np.eye(4), scene, 64)


def plain(**changes: float) -> Dressing:
    return Dressing(STILL, Occlusion(kind="none"), [GREY], **changes)


def test_only_learnt_photos_become_crops(toy: Toy, shots: list[Shot]) -> None:
    assert [shot.name for shot in shots] == [f"{idx:03d}.png" for idx in range(12) if idx % 4]


def test_a_turned_crop_of_a_photo_is_what_its_camera_sees(
    scene: Scene, shots: list[Shot], rng: np.random.Generator
) -> None:
    crops = PhotoCrops(scene, shots, ViewRange(roll_deg=180.0), "as taken", occluded=False)
    views = crops._turned(np.arange(len(shots)), 64, rng)
    rendered = scene.render(views).buffers
    for view, shot in enumerate(shots):
        image, share = warped(shot, views, view)
        seen = rendered.mask[view].numpy().astype(bool)
        assert np.count_nonzero((share > 0.5) ^ seen) < 0.06 * seen.sum()
        inside = share > 0.99
        difference = np.abs(image / 255.0 - rendered.colour[view].numpy())[inside & seen]
        # Colours vary by 0.3 from one vertex to the next: a shift of a pixel would show.
        assert difference.mean() < 0.05


def test_points_of_photo_crops_lie_on_their_pixels(
    scene: Scene, shots: list[Shot], rng: np.random.Generator
) -> None:
    crops = PhotoCrops(scene, shots, ViewRange(), "replaced", occluded=False)
    batch = crops.plain_batch(np.array([2, 5]), 64, 40)
    for row, shot in enumerate((2, 5)):
        points = apply(shots[shot].cam_from_obj, batch.points_obj[row].double().numpy())
        xy = shots[shot].camera.project(points)
        counted = batch.weight[row].numpy() > 0
        assert counted.sum() > 30
        column, line = xy[counted].astype(int).T
        assert (shots[shot].share[line, column] > 100).mean() > 0.95


def test_nothing_of_the_captures_place_is_ever_seen(scene: Scene, rng: np.random.Generator, toy: Toy) -> None:
    """Everything about a grey object is magenta: not one pixel of it may reach the network."""
    grey = [
        replace(shot, pixels=np.where(shot.share[..., None] > 250, 90, [255, 0, 255]).astype(np.uint8))
        for shot in capture_shots(toy.workspace, toy.asset, np.eye(4), scene, 64)
    ]
    crops = PhotoCrops(scene, grey, ViewRange(), "replaced", occluded=False)
    for size in (64, 96):
        batch = crops.draw_batch(12, size, 20, plain(), rng)
        colour = batch.crops.int()
        assert (colour.amax(-1) - colour.amin(-1)).max() <= 6
        assert (batch.visible <= batch.mask).all() and batch.visible.mean() > 0.1
    taken = PhotoCrops(scene, grey, ViewRange(), "as taken", occluded=False).draw_batch(4, 64, 20, plain(), rng)
    assert (taken.crops.int().amax(-1) - taken.crops.int().amin(-1)).max() > 100


def test_validation_crops_are_the_same_every_time_as_taken_or_replaced(scene: Scene, shots: list[Shot]) -> None:
    crops = PhotoCrops(scene, shots, ViewRange(), "replaced", occluded=True)
    idx = np.arange(4)
    taken, again = crops.plain_batch(idx, 64, 20), crops.plain_batch(idx, 64, 20)
    elsewhere = crops.plain_batch(idx, 64, 20, [GREY])
    assert torch.equal(taken.crops, again.crops) and torch.equal(taken.visible, elsewhere.visible)
    inside = elsewhere.visible.repeat_interleave(2, 1).repeat_interleave(2, 2) == 1
    outside = elsewhere.mask.repeat_interleave(2, 1).repeat_interleave(2, 2) == 0
    assert (elsewhere.crops[outside].int() - 128).abs().max() <= 1
    assert (elsewhere.crops[inside].int() - taken.crops[inside].int()).abs().float().mean() < 8


def test_photos_are_mixed_in_by_their_share_and_some_are_kept(
    toy: Toy, scene: Scene, rng: np.random.Generator
) -> None:
    request = SourceConfig(real=0.25, real_held_out=3)
    found = open_sources(toy.workspace, request, scene, ViewRange(), True, 64, 8, rng)
    assert [mixed.crops for mixed in found.mixed] == [2]
    source = found.mixed[0].source
    assert isinstance(source, PhotoCrops) and found.held_out is not None
    learnt, kept = ({shot.name for shot in crops.shots} for crops in (source, found.held_out))
    assert len(learnt) == 6 and len(kept) == 3 and not learnt & kept
    maker = BatchMaker(scene, ViewRange(), plain(), 8, 20, 2, 0, found.mixed)
    batches = [maker(k, 64) for k in (0, 9, 1)]
    assert all(batch.crops.shape == (8, 64, 64, 3) for batch in batches)
    anew = BatchMaker(scene, ViewRange(), plain(), 8, 20, 2, 0, found.mixed)
    assert torch.equal(anew(9, 64).crops, batches[1].crops)


def test_without_other_sources_batches_are_rendered_views_alone(toy: Toy, scene: Scene) -> None:
    rng = np.random.default_rng(0)
    none = open_sources(toy.workspace, SourceConfig(real=0.0), scene, ViewRange(), True, 64, 8, rng)
    assert none.mixed == () and none.held_out is None
    elsewhere = open_sources(toy.workspace, SourceConfig(), scene, ViewRange(), False, 64, 8, rng)
    assert elsewhere.mixed == ()


def test_a_batch_can_consist_of_photos_alone(scene: Scene, shots: list[Shot]) -> None:
    source = PhotoCrops(scene, shots, ViewRange(), "replaced", occluded=True)
    batch = BatchMaker(scene, ViewRange(), plain(), 4, 20, 2, 0, (Mixed(source, 4),))(3, 64)
    assert batch.crops.shape[0] == 4 and (batch.weight > 0).any()


def test_written_views_read_back_as_bop_images_with_the_same_truth(
    tmp_path: Path, scene: Scene, rng: np.random.Generator
) -> None:
    write_views(tmp_path, scene, ViewRange(), replace(plain(), occlusion=Occlusion(none=0.0)), 5, 64, rng)
    scenes = [read_scene(place) for place in find_scenes(tmp_path / "train")]
    assert object_of(scenes, None) == 1
    shots = load_bop_shots(scenes, 1, np.eye(4), scene, 64, 10, rng)
    assert 3 <= len(shots) <= 5
    for view in scenes[0].views.values():
        instance = view.instances[0]
        assert view.lens is not None and instance.mask is not None and instance.visibility is not None
        whole = scene.silhouette(view.lens.pinhole, instance.cam_from_obj)
        assert np.count_nonzero(whole ^ read_mask(instance.mask)) <= 3
    # The image itself goes through: surroundings stay.
    shot, photo = shots[0], read_photo(tmp_path / "train" / "000001" / "rgb" / "000000.png")
    assert photo.shape == (64, 64, 3) and shot.name.startswith("000001/")
    model = load_mesh(tmp_path / "models" / "obj_000001.ply")
    assert torch.allclose(model.vertices / 1000, scene.mesh.vertices, atol=1e-4)


def test_written_views_say_how_the_object_is_symmetric_and_what_colours_it_has(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """A textured box: half turns about its axes, were it not for the texture; a mark of the maker's stays."""
    box = trimesh.creation.box((0.3, 0.2, 0.1))
    faces = torch.as_tensor(np.array(box.faces)).int()
    uv = torch.tensor([[0.2, 0.2], [0.3, 0.2], [0.2, 0.3]]).expand(len(faces), 3, 2)
    texture = torch.full((64, 64, 3), 0.2)
    texture[:, :, 0] = 1.0
    textured = Mesh(torch.as_tensor(np.array(box.vertices)).float(), faces, None, uv, texture)
    record = Asset(np.eye(4), True, textured.diameter, (0.3, 0.2, 0.1), (np.diag([-1.0, -1.0, 1.0, 1.0]),))
    for asset, turns in ((record, 1), (None, 3)):
        folder = tmp_path / str(turns)
        scene = Scene(textured, 64)
        write_bop(folder, SourceConfig(write_views=2), scene, ViewRange(), plain(), 64, asset)
        (model,) = read_models(folder / "models").values()
        assert len(model.symmetries_discrete) == turns
        colours = load_mesh(folder / "models" / "obj_000001.ply").colours
        assert colours is not None and torch.allclose(colours, torch.tensor([1.0, 0.2, 0.2]), atol=1 / 255)
    with pytest.raises(InputError, match="the object's scale is unknown"):
        write_bop(
            tmp_path, SourceConfig(write_views=2), Scene(textured, 64), ViewRange(), plain(), 64,
            replace(record, metric=False),
        )  # fmt: skip


def test_colours_of_vertices_are_their_own_or_those_of_the_texture_at_their_corners() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]]).int()
    # Red rises with u, green with v, over the middle of each texel.
    steps = (torch.arange(50) + 0.5) / 50
    texture = torch.stack([steps.expand(50, 50), (1 - steps)[:, None].expand(50, 50), torch.zeros(50, 50)], -1)
    at = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.9, 0.7], [0.1, 0.7]])
    found = Mesh(vertices, faces, None, at[faces.long()], texture).vertex_colours
    assert found is not None and torch.allclose(found[:, :2], at, atol=1e-5)
    own = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    assert Mesh(vertices, faces, own).vertex_colours is own and Mesh(vertices, faces).vertex_colours is None


def test_bop_images_that_cannot_be_learnt_from_say_why(
    tmp_path: Path, scene: Scene, rng: np.random.Generator
) -> None:
    with pytest.raises(InputError, match=r"holds no BOP scenes: expected scene_camera.json"):
        find_scenes(tmp_path)
    write_views(tmp_path, scene, ViewRange(), plain(), 2, 64, rng)
    scenes = [read_scene(tmp_path / "train" / "000001")]
    with pytest.raises(InputError, match="no image shows object 7; the scenes hold 1"):
        load_bop_shots(scenes, 7, np.eye(4), scene, 64, 10, rng)
    small = Scene(scene.mesh.transformed(np.diag([0.3, 0.3, 0.3, 1.0])), 64)
    with pytest.raises(InputError, match="in none of 2 sightings of object 1 does the mesh cover its mask"):
        load_bop_shots(scenes, 1, np.eye(4), small, 64, 10, rng)
    for mask in (tmp_path / "train" / "000001" / "mask_visib").iterdir():
        mask.unlink()
    with pytest.raises(InputError, match="none of the 2 sightings of object 1"):
        load_bop_shots([read_scene(tmp_path / "train" / "000001")], 1, np.eye(4), scene, 64, 10, rng)


def test_options_that_leave_no_room_are_refused() -> None:
    with pytest.raises(InputError, match=r"--sources.real 0.7 and --sources.bop-share 0.5 must be at least 0"):
        check_sources(SourceConfig(real=0.7, bop=Path("pbr")))
    with pytest.raises(InputError, match=r"--sources.real-held-out must be at least 2, got 1"):
        check_sources(SourceConfig(real_held_out=1))


def test_another_mesh_without_alignment_has_no_fields(toy: Toy, scene: Scene) -> None:
    with pytest.raises(
        InputError, match=r"needs the workspace's own asset: leave --mesh away, or add --sources.align"
    ):
        open_scene(toy.workspace, SourceConfig(colours="field"), scene.mesh, False, 64)
    with pytest.raises(InputError, match="this needs the stage `fields` first"):
        open_scene(toy.workspace, SourceConfig(colours="field"), scene.mesh, True, 64)


def test_one_model_is_photographed_and_the_others_coordinates_are_learnt(
    scene: Scene, rng: np.random.Generator
) -> None:
    red = Mesh(
        scene.mesh.vertices * 1.05, scene.mesh.faces, torch.tensor([[1.0, 0, 0]]).expand_as(scene.mesh.vertices)
    )
    both = Scene(scene.mesh, 64, looks=red)
    pool = both.draw_pool(3, 64, ViewRange(), rng)
    inside = pool.buffers.mask.bool()
    assert torch.allclose(pool.buffers.colour[inside], torch.tensor([1.0, 0.0, 0.0]), atol=1e-5)
    batch = both.draw_batch(pool, np.arange(3), 60, plain(), rng)
    counted = batch.points_obj[batch.weight > 0]
    box = scene.mesh.vertices.abs().amax(0)
    assert (counted.abs() <= box * 1.0001).all() and not torch.equal(box, red.vertices.abs().amax(0))


class Painted:
    """Says which way it is looked at, and that the surface lies a little before the mesh's."""

    def colours(
        self, points_obj: Float[Tensor, "point 3"], directions_obj: Float[Tensor, "point 3"]
    ) -> Float[Tensor, "point 3"]:
        return 0.5 + 0.5 * directions_obj

    def distances(
        self, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"], near: Float[Tensor, "ray"]
    ) -> Float[Tensor, "ray"]:
        return near - 0.01


def test_a_radiance_is_asked_along_the_pixels_own_directions(scene: Scene, rng: np.random.Generator) -> None:
    painted = Scene(scene.mesh, 64, painter=Painted())
    pool = painted.draw_pool(2, 64, ViewRange(), rng)
    for view in range(2):
        row, column = pool.buffers.mask[view].nonzero(as_tuple=True)
        xy = np.stack([column, row], -1) + 0.5
        ways = pool.views.camera(view).directions(xy) @ pool.views.rotation[view]
        found = pool.buffers.colour[view][row, column].numpy()
        close = np.abs(found - (0.5 + 0.5 * ways)).max(-1) < 1e-4
        assert close.mean() > 0.99


def test_coordinates_may_be_another_surfaces(scene: Scene, rng: np.random.Generator) -> None:
    nearer = Scene(scene.mesh, 64, surface=Painted())
    pool = scene.draw_pool(2, 64, ViewRange(), rng)
    chosen = np.full((2, 1), 16 * 32 + 16)
    here, hit = scene.points_at(pool.views, np.arange(2), chosen)
    there, _ = nearer.points_at(pool.views, np.arange(2), chosen)
    assert hit.all()
    np.testing.assert_allclose((here - there).norm(dim=-1), 0.01, atol=1e-5)


def test_directions_are_turned_no_further_than_trusted() -> None:
    known, wanted = torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]), torch.tensor([[0.0, 1, 0], [0.995, 0.0998334, 0]])
    wanted = torch.nn.functional.normalize(wanted, dim=-1)
    turned = towards(known, wanted, 0.3)
    assert torch.allclose(turned[0], torch.tensor([np.cos(0.3), np.sin(0.3), 0]).float(), atol=1e-5)
    assert torch.allclose(turned[1], wanted[1], atol=1e-5)


def test_a_camera_file_sets_the_photo_that_views_are_meant_for(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    path.write_text('{"model": "PINHOLE", "width": 640, "height": 480, "params": [572, 574, 325, 242]}')
    assert with_camera(ViewRange(), SourceConfig(camera=path)).photo == (640, 480, 573.0)


def test_the_workspace_needs_no_photos_for_its_mesh(tmp_path: Path, scene: Scene, rng: np.random.Generator) -> None:
    alone = open_sources(Workspace(tmp_path), SourceConfig(), scene, ViewRange(), True, 64, 8, rng)
    assert alone.mixed == ()


def test_the_fields_surface_is_found_where_its_distance_is_zero() -> None:
    field = DecomposedField(FieldShapes(), 0).requires_grad_(False)
    unit_from_obj = similarity(2.0, np.eye(3), np.array([0.1, 0.0, -0.1]))
    eyes = torch.tensor([[2.0, 0, 0], [0, 2.0, 0]])
    radiance = FieldRadiance(field, unit_from_obj, eyes, 0.1)
    ways = torch.nn.functional.normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    inside = torch.tensor([-0.05, 0.0, 0.05]).expand(40, 3)
    # The field starts as a ball of 0.6 in its own frame: 0.3 here.
    origins, near = inside - 2 * ways, torch.full((40,), 2 - 0.3 + 0.03)
    found = radiance.distances(origins, ways, near)
    at = radiance._sdf(origins + found[:, None] * ways)
    assert at.abs().max() < 1e-3 and not torch.equal(found, near)
    assert torch.equal(radiance.distances(origins, ways, near - 1), near - 1)
    colours = radiance.colours(origins + found[:, None] * ways, ways)
    assert colours.shape == (40, 3) and colours.min() >= 0 and colours.max() <= 1
