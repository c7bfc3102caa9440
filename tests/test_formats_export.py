"""What a workspace exports, every reader reads back: the same cameras, masks and object."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
import trimesh

from maquette.app.main import run_command
from maquette.data.captures import load_capture, save_capture
from maquette.data.errors import InputError
from maquette.data.formats import bop_models, bop_scene, bop_targets, llff
from maquette.data.formats.bop_dataset import read_dataset
from maquette.data.formats.given import GivenCapture, GivenPhoto, read_depth, read_given_mask
from maquette.data.formats.readers import find_format, read_capture
from maquette.data.images import read_mask, read_photo, write_image
from maquette.data.workspace import Workspace
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import apply, inverse, scale_of
from maquette.kernels.closest import ClosestPoints
from maquette.recipes.export import centred, export
from maquette.recipes.export_parts import ExportConfig, ExportFormat
from toys import make_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Twelve photos, three of them held out; a world of another scale, and a model that COLMAP would have left."""
    from maquette.cameras.assemble import to_colmap
    from maquette.data.formats.colmap import write_model

    toy = make_toy(tmp_path_factory.mktemp("toy") / "box")
    capture = load_capture(toy.workspace)
    write_model(toy.workspace.cameras / "sparse", to_colmap(capture.views, capture.points))
    return toy


def assert_cameras_kept(ours, read: GivenCapture, same_photo: bool = True) -> None:
    """The points of the world appear at the same pixels, photo by photo in order."""
    assert len(read.posed) == len(ours)
    points = np.random.default_rng(0).normal(size=(20, 3)) * 0.1
    for view, photo in zip(ours, read.posed, strict=True):
        centre = apply(inverse(view.cam_from_world), np.array([0.0, 0.0, 1.0]))
        there = apply(photo.cam_from_world, centre + points)
        pixels = photo.lens.pixels(there[:, :2] / there[:, 2:])
        expected = view.camera.project(apply(view.cam_from_world, centre + points))
        if same_photo:
            np.testing.assert_allclose(pixels, expected, atol=1e-2)
        else:
            shift = np.array([view.camera.cx - photo.lens.value("cx"), view.camera.cy - photo.lens.value("cy")])
            np.testing.assert_allclose(pixels + shift, expected, atol=1e-2)


def points_of_depth(photo: GivenPhoto, depth: np.ndarray) -> np.ndarray:
    """What a depth image sees, in the world, (point, 3), metres."""
    rows, columns = np.nonzero(depth)
    slopes = photo.lens.slopes(np.stack([columns, rows], -1) + 0.5)
    cam = np.concatenate([slopes, np.ones((len(slopes), 1))], -1) * depth[rows, columns, None]
    return apply(inverse(photo.cam_from_world), cam)


@pytest.mark.parametrize("form", ["colmap", "nerfstudio", "neus", "nerfpp", "llff"])
def test_cameras_and_masks_survive_the_way_out_and_in(toy, tmp_path, form):
    capture = load_capture(toy.workspace)
    export(toy.workspace, tmp_path / "out", ExportConfig(form))
    assert find_format(tmp_path / "out") == form
    read = read_capture(tmp_path / "out")
    ours = capture.views if form == "nerfpp" else capture.learnt
    assert_cameras_kept(ours, read)
    assert [photo.held_out for photo in read.photos] == [view.held_out for view in ours]
    if form in ("colmap", "neus", "nerfpp"):
        for view, photo in zip(ours, read.photos, strict=True):
            truth = read_mask(toy.workspace.given_mask(view.name))
            np.testing.assert_array_equal(read_given_mask(photo.mask), truth)


def test_a_bop_dataset_holds_the_object_in_millimetres(toy, tmp_path):
    capture = load_capture(toy.workspace)
    asset = json.loads((toy.workspace.asset / "asset.json").read_text())
    with pytest.raises(InputError, match=r"does not know its scale.*--diameter"):
        export(toy.workspace, tmp_path / "bop", ExportConfig("bop"))
    with pytest.raises(InputError, match=r"--diameter 37 m: is this in millimetres\?"):
        export(toy.workspace, tmp_path / "bop", ExportConfig("bop", diameter=37.0))
    assert not (tmp_path / "bop").exists() and not list(tmp_path.iterdir())
    export(toy.workspace, tmp_path / "bop", ExportConfig("bop", diameter=0.25, object_id=5))
    model = bop_models.read_models(tmp_path / "bop" / "models")[5]
    mesh = trimesh.load(bop_models.model_file(tmp_path / "bop" / "models", 5), process=False)
    np.testing.assert_allclose(mesh.extents / 1000, model.size, rtol=1e-5)
    train = bop_scene.read_scene(tmp_path / "bop" / "train" / "000005")
    test = bop_scene.read_scene(tmp_path / "bop" / "test" / "000001")
    assert (len(train.views), len(test.views)) == (len(capture.learnt), len(capture.held_out))
    targets = bop_targets.read_targets(tmp_path / "bop" / "test_targets_bop19.json")
    assert {(t.scene_id, t.im_id, t.obj_id, t.inst_count) for t in targets} == {(1, i, 5, 1) for i in test.views}
    metres = 0.25 / asset["diameter"] * scale_of(np.array(asset["obj_from_world"]))
    for view, written in zip(capture.learnt, train.views.values(), strict=True):
        (instance,) = written.instances
        centre = inverse(np.array(asset["obj_from_world"]))[:3, 3]
        expected = metres * apply(view.cam_from_world, centre)
        np.testing.assert_allclose(instance.cam_from_obj[:3, 3], expected, atol=1e-9)
        assert instance.visibility.visib_fract > 0.97
        truth = read_mask(toy.workspace.given_mask(view.name))
        seen = read_mask(instance.mask)
        assert (seen & truth).sum() / (seen | truth).sum() > 0.97


def test_a_bop_dataset_s_targets_follow_from_the_photos_that_bop24_lists(toy, tmp_path):
    export(toy.workspace, tmp_path / "bop", ExportConfig("bop", diameter=0.25, object_id=5))
    told = read_dataset(tmp_path / "bop").targets
    assert len(told) == len(load_capture(toy.workspace).held_out) and {t.obj_id for t in told} == {5}
    (tmp_path / "bop" / "test_targets_bop19.json").unlink()
    listed = bop_targets.read_targets(tmp_path / "bop" / "test_targets_bop24.json")
    assert listed == [bop_targets.BopTarget(t.scene_id, t.im_id) for t in told]
    assert read_dataset(tmp_path / "bop").targets == told


def moved_aside(workspace: Workspace, aside: dict[str, int]) -> None:
    """Some photos as if cut out that many pixels further to the right: photo, mask and camera."""
    capture = load_capture(workspace)
    views = []
    for view in capture.views:
        x = aside.get(view.name, 0)
        for path in (workspace.photo(view.name), workspace.asset / "masks" / view.name):
            pixels = read_photo(path)
            kept = np.zeros_like(pixels)
            kept[:, : max(96 - x, 0)] = pixels[:, x:]
            write_image(path, kept)
        views.append(replace(view, camera=view.camera.cropped(float(x), 0.0, 96, 72)))
    save_capture(workspace.cameras, replace(capture, views=tuple(views)))


def test_a_bop_dataset_counts_what_photos_cut_off_as_bop_does(tmp_path):
    """Of photos moved aside the object's count and box stay; fraction and targets are of what is seen."""
    toy, size = make_toy(tmp_path / "box", held_out=3), 72 * 96
    export(toy.workspace, tmp_path / "whole", ExportConfig("bop", diameter=0.25))
    aside = [0, 48, 62, 110]  # the third shows a little of the object, the last none
    names = [view.name for view in load_capture(toy.workspace).held_out]
    moved_aside(toy.workspace, dict(zip(names, aside, strict=True)))
    export(toy.workspace, tmp_path / "cut", ExportConfig("bop", diameter=0.25))
    whole, cut = (bop_scene.read_scene(tmp_path / name / "test" / "000001") for name in ("whole", "cut"))
    fractions = []
    for before, after, x in zip(whole.views.values(), cut.views.values(), aside, strict=True):
        (seen,), (left,) = before.instances, after.instances
        mask, visible = read_mask(seen.mask)[:, x:], read_mask(left.mask_visib)
        assert (left.visibility.px_count_all, seen.visibility.visib_fract) == (seen.visibility.px_count_all, 1.0)
        np.testing.assert_array_equal(read_mask(left.mask)[:, : mask.shape[1]], mask)
        assert left.visibility.px_count_visib == left.visibility.px_count_valid == visible.sum() == mask.sum()
        assert left.visibility.visib_fract == pytest.approx(mask.sum() / seen.visibility.px_count_all)
        x0, *rest = seen.visibility.box_obj
        assert left.visibility.box_obj == ((x0 - x, *rest) if mask.any() else None)
        assert (left.visibility.box_visib is None) == (not mask.any()) and read_mask(left.mask).size == size
        fractions.append(left.visibility.visib_fract)
    assert fractions[0] == 1 and 0.3 < fractions[1] < 0.7 and 0 < fractions[2] < 0.1 and fractions[3] == 0
    told = read_dataset(tmp_path / "cut").targets
    assert [(t.im_id, t.inst_count) for t in told] == [(0, 1), (1, 1)]
    listed = bop_targets.read_targets(tmp_path / "cut" / "test_targets_bop24.json")
    assert [t.im_id for t in listed] == [0, 1]


def test_the_sphere_of_a_bop_scene_that_cuts_the_object_holds_it_as_tightly(tmp_path):
    toy = make_toy(tmp_path / "box", held_out=3)
    radii = []
    for name, aside in (("whole", 0), ("cut", 48)):
        moved_aside(toy.workspace, {view.name: aside for view in load_capture(toy.workspace).learnt})
        export(toy.workspace, tmp_path / name, ExportConfig("bop", diameter=0.25))
        radii.append(read_capture(tmp_path / name / "train" / "000001").sphere.radius)
    assert radii[1] == pytest.approx(radii[0], rel=1e-6)
    mesh = trimesh.load(tmp_path / "whole" / "models" / "obj_000001.ply", process=False)
    reach = np.linalg.norm(mesh.vertices, axis=-1).max() / 1000
    assert reach < radii[0] < 1.15 * reach


def test_a_bop_dataset_without_a_held_out_photo_that_shows_the_object_has_no_targets(tmp_path, capsys):
    toy = make_toy(tmp_path / "box", held_out=6)
    moved_aside(toy.workspace, {view.name: 90 for view in load_capture(toy.workspace).held_out})
    export(toy.workspace, tmp_path / "bop", ExportConfig("bop", diameter=0.25))
    assert "2 of 2 held-out photos show too little of the object: no targets" in capsys.readouterr().err
    assert (tmp_path / "bop" / "test").is_dir() and not list((tmp_path / "bop").glob("test_targets*"))


@pytest.mark.parametrize("form", ["bop", "foundationpose"])
def test_depth_is_the_mesh_s_where_the_object_is_visible(toy, tmp_path, form):
    """Of one pose and one mesh; steps are a tenth of a millimetre in BOP's files, a whole one in the others'."""
    export(toy.workspace, tmp_path / form, ExportConfig(form, diameter=0.3))
    export(toy.workspace, tmp_path / "fp", ExportConfig("foundationpose", diameter=0.3))
    mesh = trimesh.load(tmp_path / "fp/ob_0000001/model/model.obj")
    surface = ClosestPoints(torch.as_tensor(mesh.vertices).float(), torch.as_tensor(mesh.faces).int())
    read = read_capture(tmp_path / form / ("train/000001" if form == "bop" else ""))
    for photo in read.posed:
        depth = read_depth(photo.depth)
        np.testing.assert_array_equal(depth > 0, read_given_mask(photo.mask))
        obj = points_of_depth(photo, depth)
        assert len(obj) > 100
        far = surface.nearest(torch.as_tensor(obj).float()).distance
        assert far.max() < (2e-4 if form == "bop" else 1e-3)


def test_depth_beyond_what_tenths_of_a_millimetre_reach_is_in_whole_ones(toy, tmp_path):
    for diameter in (0.3, 4.0):
        to = tmp_path / f"{diameter}"
        export(toy.workspace, to, ExportConfig("bop", diameter=diameter))
        unit = 0.1 if diameter < 1 else 1.0
        cameras = json.loads((to / "train/000001/scene_camera.json").read_text()).values()
        assert {camera["depth_scale"] for camera in cameras} == {unit}
        assert json.loads((to / "camera.json").read_text())["depth_scale"] == unit


def test_foundationpose_s_views_show_the_mesh_where_its_mask_is(toy, tmp_path):
    export(toy.workspace, tmp_path / "fp", ExportConfig("foundationpose", diameter=0.3))
    read = read_capture(tmp_path / "fp")
    mesh = trimesh.load(tmp_path / "fp" / "ob_0000001" / "model" / "model.obj", process=False)
    assert np.abs(mesh.bounds.mean(0)).max() < 1e-6 + 0.02 * mesh.extents.max()
    for photo in read.posed:
        cam = apply(photo.cam_from_world, np.array(mesh.vertices))
        pixels = photo.lens.pixels(cam[:, :2] / cam[:, 2:])
        mask = read_given_mask(photo.mask)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose([*pixels.min(0), *pixels.max(0)], box, atol=1.5)


@pytest.mark.parametrize("form", ["tum", "frames"])
def test_rgbd_folders_hold_the_depth_of_the_mesh_in_metres(toy, tmp_path, form):
    export(toy.workspace, tmp_path / "out", ExportConfig(form, diameter=0.3))
    export(toy.workspace, tmp_path / "fp", ExportConfig("foundationpose", diameter=0.3))
    assert find_format(tmp_path / "out") == form
    read, mesh = read_capture(tmp_path / "out"), trimesh.load(tmp_path / "fp/ob_0000001/model/model.obj")
    surface = ClosestPoints(torch.as_tensor(mesh.vertices).float(), torch.as_tensor(mesh.faces).int())
    assert read.metric and len(read.posed) == len(load_capture(toy.workspace).learnt)
    for photo in read.posed:
        obj = points_of_depth(photo, read_depth(photo.depth))
        assert len(obj) > 100
        assert surface.nearest(torch.as_tensor(obj).float()).distance.max() < 1e-3


@pytest.mark.parametrize("form", ["tum", "frames", "onepose"])
def test_points_of_the_object_in_metres_are_where_the_photos_have_them(toy, tmp_path, form):
    """A crop shows them from its own corner and enlarged, as its camera says: whole pixels of the photo."""
    export(toy.workspace, tmp_path / "out", ExportConfig(form, diameter=0.3))
    read = read_capture(tmp_path / "out" / ("object-1" if form == "onepose" else ""))
    asset = json.loads((toy.workspace.asset / "asset.json").read_text())
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (20, 3))
    world = apply(inverse(np.array(asset["obj_from_world"])), points * asset["diameter"] / 0.3)
    for view, photo in zip(load_capture(toy.workspace).learnt, read.posed, strict=True):
        there, camera = apply(photo.cam_from_world, points), photo.lens.pinhole
        zoom = camera.fx / view.camera.fx
        window = np.array(
            [view.camera.cx - camera.cx / zoom, view.camera.cy - camera.cy / zoom, camera.width / zoom]
        )
        np.testing.assert_allclose(window, window.round() if form == "onepose" else [0, 0, 96], atol=1e-6)
        expected = (view.camera.project(apply(view.cam_from_world, world)) - window[:2].round()) * zoom
        np.testing.assert_allclose(photo.lens.pixels(there[:, :2] / there[:, 2:]), expected, atol=1e-2)


def test_onepose_s_crops_show_what_the_photos_show_there(toy, tmp_path):
    capture = load_capture(toy.workspace)
    export(toy.workspace, tmp_path / "out", ExportConfig("onepose", diameter=0.3))
    place = tmp_path / "out" / "object-1"
    assert find_format(place) == "onepose"
    read = read_capture(place)
    assert read.metric and len(read.posed) == len(capture.learnt)
    corners = np.loadtxt(tmp_path / "out" / "box3d_corners.txt")
    assert read.sphere is not None and read.sphere.radius == pytest.approx(np.linalg.norm(np.ptp(corners, 0)) / 2)
    for view, photo in zip(capture.learnt, read.posed, strict=True):
        there = apply(photo.cam_from_world, corners)
        in_crop = photo.lens.pixels(there[:, :2] / there[:, 2:])
        side = np.ptp(in_crop, 0)
        assert side.max() == pytest.approx(512, abs=512 * 3 / view.camera.width * 4) and in_crop.min() > -1e-6
        in_photo = view.camera.project(there)
        crop, whole = read_photo(photo.path), read_photo(toy.workspace.photo(view.name))
        zoom = np.ptp(in_photo[:, 0]) / side[0]
        grid = np.stack(np.meshgrid(np.arange(64, 512, 64), np.arange(64, 512, 64)), -1).reshape(-1, 2)
        x, y = np.floor(in_photo[0] + (grid + 0.5 - in_crop[0]) * zoom).astype(int).T
        kept = (x >= 1) & (y >= 1) & (x < view.camera.width - 1) & (y < view.camera.height - 1)
        apart = crop[grid[kept, 1], grid[kept, 0]].astype(int) - whole[y[kept], x[kept]]
        assert np.median(np.abs(apart)) < 12


def test_a_folder_that_is_taken_is_kept_unless_told(toy, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is not empty.*--overwrite"):
        export(toy.workspace, tmp_path / "out", ExportConfig("neus"))
    assert (tmp_path / "out" / "mine.txt").exists()
    export(toy.workspace, tmp_path / "out", ExportConfig("neus"), overwrite=True)
    assert not (tmp_path / "out" / "mine.txt").exists()


def test_the_camera_that_llff_can_say_lies_inside_the_photo():
    camera = Camera(100, 80, 90.0, 99.0, 47.3, 43.1)
    inside = centred(camera)
    lens = replace_camera(inside)
    assert llff.fits(lens)
    corners = np.array([[0.0, 0], [inside.width, inside.height]])
    there = camera.project(inside.directions(corners))
    assert (there >= -1e-9).all() and (there <= [100, 80]).all()


def replace_camera(camera: Camera):
    from maquette.geometry.lens import Lens

    return Lens("PINHOLE", camera.width, camera.height, (camera.fx, camera.fy, camera.cx, camera.cy))


def test_the_command_line_lists_the_formats_and_exports(toy, tmp_path, capsys):
    assert (
        run_command(["export", str(toy.workspace.root), "--to", str(tmp_path / "out"), "--format", "nerfstudio"])
        == 0
    )
    assert (tmp_path / "out" / "transforms.json").exists()
    with pytest.raises(SystemExit):
        run_command(["export", "--help"])
    said = capsys.readouterr().out
    assert all(form in said for form in get_args(ExportFormat))
