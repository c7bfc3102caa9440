"""Materials: the same shape and room, another look; what is not the object stays as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import look_at
from maquette.studio.capture import make_capture
from maquette.studio.config import StudioConfig
from maquette.studio.materials import F0, MaterialName, in_material, through_glass
from maquette.studio.objects import Thing, make_object
from maquette.studio.photograph import Exposed
from maquette.studio.setting import OBJECT, arrange, gather

CAMERA = Camera(120, 90, 130.0, 130.0, 60.0, 45.0)
MATERIALS: tuple[MaterialName, ...] = ("printed", "plain", "shiny", "glass")


def thing_of(material: MaterialName) -> Thing:
    return in_material(make_object("cup", None, np.random.default_rng(1), 0.004), material)


@pytest.fixture(scope="module")
def taken() -> dict[str, Exposed]:
    """The same photo of the same arrangement, once for each material."""
    found = {}
    for material in MATERIALS:
        rng = np.random.default_rng(2)
        setting = arrange(gather(thing_of(material), "cup", rng, 0.25), rng, (0.1, 0.3), lamp_side=1)
        target = setting.world_from_obj[:3, 3]
        view = look_at(target + [0.25, 0.2, 0.2], target, np.array([0, 0, 1.0]))
        found[material] = setting.shoot(CAMERA, view, np.random.default_rng(3))
    return found


def inner(exposed: Exposed) -> torch.Tensor:
    """Pixels of the object that no other pixel's owner touches: edges are mixed of both."""
    own = (exposed.owner == OBJECT).float()[None, None]
    return -torch.nn.functional.max_pool2d(-own, 5, 1, 2)[0, 0] > 0


@pytest.mark.parametrize("material", MATERIALS[1:])
def test_a_material_changes_the_objects_pixels_alone(taken: dict[str, Exposed], material: str) -> None:
    printed, other = taken["printed"], taken[material]
    assert torch.equal(printed.owner, other.owner) and torch.equal(printed.depth, other.depth)
    touched = torch.nn.functional.max_pool2d((printed.owner == OBJECT).float()[None, None], 3, 1, 1)[0, 0] > 0
    assert torch.equal(printed.light[~touched], other.light[~touched])
    changed = (printed.light - other.light).abs().sum(-1)[inner(printed)]
    assert (changed > 1e-4).float().mean() > (0.02 if material == "shiny" else 0.9)


def test_plain_is_one_colour_in_any_light(taken: dict[str, Exposed]) -> None:
    mesh = thing_of("plain").mesh
    assert mesh.texture is not None and len(torch.unique(mesh.texture.reshape(-1, 3), dim=0)) == 1
    light = taken["plain"].light[inner(taken["plain"])]
    hue = light / light.sum(-1, keepdim=True)
    printed = taken["printed"].light[inner(taken["printed"])]
    assert hue.std(0).max() < 0.3 * (printed / printed.sum(-1, keepdim=True)).std(0).max()


def test_a_polish_only_adds_light(taken: dict[str, Exposed]) -> None:
    more = (taken["shiny"].light - taken["printed"].light)[inner(taken["printed"])]
    assert more.min() > -1e-6 and more.max() > 0.1


def test_glass_seen_square_on_shows_what_is_behind_and_seen_at_a_glance_only_itself() -> None:
    light, behind = torch.full((1, 2, 3), 1.0), torch.full((1, 2, 3), 3.0)
    square, glance = [0.0, 0, -1], [1.0, 0, 0]
    ray = torch.tensor([[0.0, 0, 1], [0.0, 0, 1]])
    seen = through_glass(light, behind, torch.ones(1, 2, dtype=torch.bool), torch.tensor([square, glance]), ray)
    np.testing.assert_allclose(seen[0, 0], F0 * 1 + (1 - F0) * 3, rtol=1e-6)
    np.testing.assert_allclose(seen[0, 1], 1, rtol=1e-6)
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    assert torch.equal(through_glass(light, behind, nothing, ray[:0], ray[:0]), light)


def test_the_truth_of_a_capture_does_not_know_its_material(tmp_path) -> None:
    tiny = StudioConfig(
        object="can", photos=1, width=48, height=32, test_photos=1, test_width=48, test_height=36, test_layouts=1,
        without_photos=0,
    )  # fmt: skip
    for material in ("printed", "glass"):
        make_capture(tmp_path / material, replace(tiny, material=material), 1)
    for file in ("truth.json", "masks/0000.png"):
        assert (tmp_path / "printed" / file).read_bytes() == (tmp_path / "glass" / file).read_bytes()
    photo = "photos/0000.jpg"
    assert (tmp_path / "printed" / photo).read_bytes() != (tmp_path / "glass" / photo).read_bytes()
