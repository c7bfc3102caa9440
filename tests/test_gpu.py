"""What runs on a GPU does as it does on the CPU. Skipped where torch sees none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maquette.app.main import run_command
from maquette.data.workspace import Workspace
from maquette.fields.models import DecomposedField, FieldShapes
from maquette.fields.sampling import CoarseGrids, Rays
from maquette.kernels.closest import ClosestPoints
from maquette.kernels.hashgrid import GridShape, encode, encode_plain
from maquette.kernels.raycast import RayCaster
from maquette.poses.find import find_in_box
from maquette.render.views import silhouette_box
from toy_capture import make_toy_capture
from toy_video import VIDEO_CAMERA, film, make_finder, motion

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
GPU = torch.device("cuda")


def test_the_hash_grid_and_its_gradients_are_those_of_the_twin() -> None:
    shape = GridShape(levels=6, table_bits=12, coarsest=4, finest=64)
    generator = torch.Generator().manual_seed(0)
    points, resolutions = (
        torch.rand(500, 3, generator=generator),
        torch.tensor(shape.resolutions, dtype=torch.int32),
    )
    tables = torch.rand(6, 1 << 12, 2, generator=generator)
    slopes = torch.randn(500, 12, generator=generator), torch.randn(500, 3, 12, generator=generator)
    found = []
    for device, function in ((torch.device("cpu"), encode_plain), (GPU, encode)):
        own = tables.to(device).requires_grad_()
        value, jacobian = function(points.to(device), own, resolutions.to(device), 6)
        ((value * slopes[0].to(device)).sum() + (jacobian * slopes[1].to(device)).sum()).backward()
        assert own.grad is not None
        found.append([tensor.detach().cpu() for tensor in (value, jacobian, own.grad)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_rays_and_nearest_points_are_those_of_the_cpu(rng: np.random.Generator) -> None:
    import trimesh

    ball = trimesh.creation.icosphere(3, 0.5)
    vertices, faces = torch.as_tensor(ball.vertices).float(), torch.as_tensor(ball.faces).int()
    points = torch.as_tensor(rng.normal(size=(300, 3))).float()
    here, there = RayCaster(vertices, faces), RayCaster(vertices.to(GPU), faces.to(GPU))
    torch.testing.assert_close(
        there.cast(points.to(GPU), -points.to(GPU)).distance.cpu(), here.cast(points, -points).distance
    )
    near, far = ClosestPoints(vertices, faces), ClosestPoints(vertices.to(GPU), faces.to(GPU))
    torch.testing.assert_close(far.nearest(points.to(GPU)).distance.cpu(), near.nearest(points).distance)


def test_samples_are_drawn_where_the_cpu_draws_them(rng: np.random.Generator) -> None:
    grids, eyes = CoarseGrids(0.5), torch.as_tensor(rng.normal(size=(200, 3))).float()
    eyes = 3 * torch.nn.functional.normalize(eyes, dim=-1)
    ends = torch.as_tensor(rng.uniform(-0.6, 0.6, (200, 3))).float()
    rays = Rays(eyes, torch.nn.functional.normalize(ends - eyes, dim=-1))
    jitter = torch.rand(200, 17)
    tiny = GridShape(levels=1, table_bits=8, coarsest=4, finest=4)
    field = DecomposedField(FieldShapes(foreground=tiny, background=tiny), 0)
    here = grids.edges(field, rays, 60.0, 16, jitter)
    there = grids.to(GPU).edges(field, rays.to(GPU), 60.0, 16, jitter.to(GPU))
    torch.testing.assert_close(there.cpu(), here, atol=2e-3, rtol=2e-3)


def test_fields_and_estimator_train_on_it_as_on_the_cpu(tmp_path: Path) -> None:
    make_toy_capture(tmp_path / "photos", photos=8, tests=0)
    last = {}
    for device in ("cpu", "cuda"):
        workspace = Workspace(tmp_path / device)
        words = ["run", str(tmp_path / "photos"), "--to", str(workspace.root), "--masks", "given"]
        words += ["--fields.steps", "70", "--fields.rays", "384", "--fields.device", device]
        words += ["--asset.resolution", "56", "--asset.faces", "4000", "--asset.texture-size", "256"]
        words += ["--estimator.steps", "10", "--estimator.batch", "4", "--estimator.device", device]
        assert run_command(words) == 0
        lines = (workspace.fields / "metrics.jsonl").read_text().splitlines()
        last[device] = json.loads(lines[-1])
        for stage in (workspace.fields, workspace.estimator):
            assert json.loads((stage / "provenance.json").read_text())["device"] == device
    assert last["cuda"]["psnr"] == pytest.approx(last["cpu"]["psnr"], abs=1.0)
    assert last["cuda"]["mask_agreement"] == pytest.approx(last["cpu"]["mask_agreement"], abs=0.1)


def test_a_pose_is_found_on_it_as_on_the_cpu() -> None:
    finder, pose = make_finder(network=True), motion(1)[0]
    assert finder.surface is not None
    corners = finder.renderer.mesh.vertices.double().numpy()
    photo, box = film(finder, pose), silhouette_box(corners, VIDEO_CAMERA, pose)
    assert box is not None
    for surface in (finder.surface, replace(finder.surface, device=GPU)):
        rng = np.random.default_rng(0)
        found = find_in_box(photo, VIDEO_CAMERA, box, replace(finder, surface=surface), rng)
        assert found is not None
        assert np.linalg.norm(found.cam_from_obj[:3, 3] - pose[:3, 3]) < 0.02 * finder.diameter
