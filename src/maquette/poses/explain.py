"""A picture of what the network thinks of a photo: queries, keys, masks, a pixel's distribution, hypotheses, pose.

The three widest directions of the object's keys are shown as red, green and blue. Queries are shown as the keys
they expect, sum_j P_uj k_j, so where a query is right it has the colour of the key that the pose puts there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial import KDTree
from torch import Tensor

from maquette.data.errors import InputError
from maquette.data.images import write_image
from maquette.data.records import PoseEstimate
from maquette.estimator.crops import crop_camera, crop_photo, crop_window
from maquette.estimator.model import Estimator
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4, rigid
from maquette.matching.distribution import Observation, Surface, distribute
from maquette.matching.estimate import propose
from maquette.matching.scoring import gather_evidence, likelihood_scores
from maquette.poses.ensemble import observe
from maquette.poses.find import Finder
from maquette.render.mesh import MeshRenderer
from maquette.render.views import Rendering, render_view, silhouette_box

Picture = UInt8[np.ndarray, "_ _ 3"]

# Side of each panel; hypotheses that are drawn.
SIDE, SHOWN = 256, 10
POSE, PIXEL = (0, 255, 120), (255, 40, 40)


@dataclass(frozen=True)
class _Look:
    """One crop as the network saw it, and the pose that came of it (None where none was found)."""

    observation: Observation
    surface: Surface
    renderer: MeshRenderer
    shown: Picture
    camera: Camera
    cam_from_obj: Matrix4 | None


def check_explained(count: int, at: tuple[str, float, float] | None, photos: list[Path], finder: Finder) -> None:
    """Raises InputError where there is nothing to explain, or no such photo."""
    if count < 0:
        raise InputError(f"--explain must not be negative, got {count}")
    if (count or at is not None) and finder.estimator is None:
        raise InputError(
            "--explain shows what the network thinks, and none is used here; train one or leave it out"
        )
    if at is not None and at[0] not in {path.name for path in photos}:
        raise InputError(f"--explain-at {at[0]}: no photo has that name; the first is {photos[0].name}")


def photos_to_explain(
    photos: list[Path], count: int, at: tuple[str, float, float] | None
) -> dict[str, tuple[float, float] | None]:
    """The photos to explain by name, `count` of them evenly chosen, and the pixel where one was named."""
    chosen = np.linspace(0, len(photos) - 1, min(count, len(photos))).round().astype(int)
    told: dict[str, tuple[float, float] | None] = {photos[index].name: None for index in chosen}
    return told | ({at[0]: at[1:]} if at is not None else {})


def write_explanation(
    folder: Path,
    photo: UInt8[np.ndarray, "height width 3"],
    found: PoseEstimate,
    finder: Finder,
    pixel: tuple[float, float] | None,
) -> None:
    """FOLDER/STEM.png, where there is something to look at."""
    picture = explain(photo, found, finder, pixel)
    if picture is not None:
        folder.mkdir(exist_ok=True)
        write_image(folder / f"{Path(found.photo).stem}.png", picture)


def explain(
    photo: UInt8[np.ndarray, "height width 3"],
    found: PoseEstimate,
    finder: Finder,
    pixel: tuple[float, float] | None = None,
    seed: int = 0,
) -> Picture | None:
    """Two rows of four panels; None where there is neither a pose nor a box to look at.

    `pixel` (of the undistorted photo) is the one whose distribution is shown, else the middle of what is seen.
    Raises InputError where the pixel lies outside of the crop.
    """
    estimator, surface = finder.estimator, finder.surface
    outline = found.box
    if found.cam_from_obj is not None:
        vertices = finder.renderer.mesh.vertices.double().numpy()
        outline = silhouette_box(vertices, found.camera, found.cam_from_obj) or outline
    if outline is None or estimator is None or surface is None:
        return None
    window = crop_window(outline, estimator.crop_scale)
    look = _look(photo, found, finder, estimator, surface, window)
    at = _pixel(look, pixel, window, found.photo)
    with torch.inference_mode():
        colour_of = _colours(surface.keys)
        return _sheet(look, at, colour_of, seed, finder)


def _look(
    photo: UInt8[np.ndarray, "height width 3"],
    found: PoseEstimate,
    finder: Finder,
    estimator: Estimator,
    surface: Surface,
    window: tuple[float, float, float],
) -> _Look:
    observation = observe(photo, found.camera, window, estimator, finder.settings.rotations)
    pixels = crop_photo(photo, window, SIDE).transpose(1, 2, 0)
    shown = np.ascontiguousarray((255 * pixels).round().clip(0, 255).astype(np.uint8))
    camera = crop_camera(found.camera, window, SIDE)
    return _Look(observation, surface, finder.renderer, shown, camera, found.cam_from_obj)


def _pixel(
    look: _Look, pixel: tuple[float, float] | None, window: tuple[float, float, float], photo: str
) -> tuple[float, float]:
    """The chosen pixel as a place in the crop, 0..1 both ways."""
    x0, y0, side = window
    if pixel is not None:
        x, y = (pixel[0] - x0) / side, (pixel[1] - y0) / side
        if not (0 <= x < 1 and 0 <= y < 1):
            raise InputError(
                f"--explain-at {photo} {pixel[0]:g} {pixel[1]:g}: that pixel is not near the object; the crop is "
                f"x {x0:.0f}..{x0 + side:.0f}, y {y0:.0f}..{y0 + side:.0f}"
            )
        return x, y
    logit = look.observation.mask_logit
    seen = logit if look.observation.visible_logit is None else torch.minimum(logit, look.observation.visible_logit)
    rows, columns = (seen >= min(0.0, float(seen.max()))).nonzero(as_tuple=True)
    middle = torch.stack([columns, rows], -1).float()
    nearest = middle[(middle - middle.mean(0)).norm(dim=-1).argmin()]
    height, width = logit.shape
    return (float(nearest[0]) + 0.5) / width, (float(nearest[1]) + 0.5) / height


def _colours(keys: Float[Tensor, "point key"]) -> Callable[[Tensor], np.ndarray]:
    """From keys to colours, by the three widest directions of the object's keys."""
    middle = keys.mean(0)
    axes = torch.linalg.svd(keys - middle, full_matrices=False)[2][:3]
    along = (keys - middle) @ axes.T
    low, high = along.quantile(0.02, 0), along.quantile(0.98, 0)

    def colour_of(values: Tensor) -> np.ndarray:
        shares = ((values - middle) @ axes.T - low) / (high - low).clamp(min=1e-9)
        return (255 * shares.clamp(0, 1)).round().to(torch.uint8).numpy()

    return colour_of


def _sheet(
    look: _Look, at: tuple[float, float], colour_of: Callable[[Tensor], np.ndarray], seed: int, finder: Finder
) -> Picture:
    observation, surface = look.observation, look.surface
    mask = observation.mask_logit.sigmoid()
    visible = mask if observation.visible_logit is None else observation.visible_logit.sigmoid()
    seen = (mask > 0.5)[..., None].numpy()
    distribution = distribute(observation, surface, torch.Generator().manual_seed(0))
    expected = torch.zeros_like(observation.query)
    expected.view(-1, expected.shape[-1])[distribution.pixel_idx] = distribution.mean_key
    queries = np.where(seen, colour_of(expected), 20).astype(np.uint8)
    tree = KDTree(surface.points_obj.double().numpy())
    probability = _distribution(look, at)
    panels = [
        (_marked(_hypotheses(look, seed, finder), at), f"{SHOWN} best hypotheses"),
        (_posed(look), "the pose"),
        (_grey(mask), "mask, hidden parts too"),
        (_grey(visible), "what is visible"),
        (_marked(queries, at), "queries, as the keys they expect"),
    ]
    if look.cam_from_obj is not None:
        front = render_view(look.renderer, look.camera, look.cam_from_obj)
        behind = render_view(look.renderer, look.camera, _from_behind(look.cam_from_obj, surface))
        nearest = tree.query(front.points_obj.double().flatten(0, 1).numpy())[1]
        keys = colour_of(surface.keys[torch.as_tensor(nearest)]).reshape(SIDE, SIDE, 3)
        panels.append((np.where(front.mask.numpy()[..., None], keys, 20).astype(np.uint8), "keys at the pose"))
        for view, name in ((front, "the marked pixel's surface"), (behind, "the same from behind")):
            panels.append((_heat(view, probability, tree), name))
    named = [_named(panel, name) for panel, name in panels]
    named += [np.full_like(named[0], 255)] * (8 - len(named))
    return np.concatenate([np.concatenate(named[:4], 1), np.concatenate(named[4:], 1)], 0)


def _distribution(look: _Look, at: tuple[float, float]) -> Float[np.ndarray, "point"]:
    """P of the marked pixel over the surface's points."""
    height, width = look.observation.mask_logit.shape
    query = look.observation.query[int(at[1] * height), int(at[0] * width)]
    return torch.softmax(look.surface.keys @ query, 0).double().numpy()


def _hypotheses(look: _Look, seed: int, finder: Finder) -> Picture:
    """The crop with the outlines of the best scored hypotheses, unrefined: red the best, blue the last."""
    canvas, settings = look.shown.copy(), finder.settings
    generator = torch.Generator().manual_seed(seed)
    observation, surface = look.observation, look.surface
    distribution = distribute(observation, surface, generator, settings.alpha, settings.mask_threshold)
    if len(distribution.pixel_idx) < 16:
        return canvas
    evidence = gather_evidence(observation, distribution, settings.outlier)
    rotations, translations = propose(observation, distribution, surface, np.random.default_rng(seed), settings)
    if len(rotations) == 0:
        return canvas
    poses = torch.as_tensor(rotations).float(), torch.as_tensor(translations).float()
    best = np.argsort(-likelihood_scores(*poses, evidence, surface).numpy())[:SHOWN]
    for place, index in reversed(list(enumerate(best))):
        share = place / max(len(best) - 1, 1)
        colour = (round(255 * (1 - share)), 120, round(255 * share))
        _outline(canvas, look, rigid(rotations[index], translations[index]), colour, 1)
    return canvas


def _posed(look: _Look) -> Picture:
    canvas = look.shown.copy()
    if look.cam_from_obj is not None:
        _outline(canvas, look, look.cam_from_obj, POSE, 2)
    return canvas


def _outline(canvas: Picture, look: _Look, cam_from_obj: Matrix4, colour: tuple[int, int, int], thick: int) -> None:
    mask = render_view(look.renderer, look.camera, cam_from_obj).mask.numpy().astype(np.uint8)
    lines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, lines, -1, colour, thick, cv2.LINE_AA)


def _from_behind(cam_from_obj: Matrix4, surface: Surface) -> Matrix4:
    """The pose turned half round the camera's vertical axis through the object's middle."""
    middle = cam_from_obj[:3, :3] @ surface.points_obj.double().mean(0).numpy() + cam_from_obj[:3, 3]
    turn = np.diag([-1.0, 1.0, -1.0])
    return rigid(turn, middle - turn @ middle) @ cam_from_obj


def _heat(view: Rendering, probability: Float[np.ndarray, "point"], tree: KDTree) -> Picture:
    """The shape in grey, P over it from grey (none) over red to yellow (most); its root, so that little shows."""
    shade = (0.35 + 0.45 * np.abs(view.normals_obj.numpy() @ np.array([0.48, 0.36, 0.8])))[..., None]
    nearest = tree.query(view.points_obj.double().flatten(0, 1).numpy())[1]
    share = np.sqrt(probability / probability.max())[nearest].reshape(SIDE, SIDE, 1)
    hot = np.concatenate([np.ones_like(share), share**2, 0 * share], -1)
    colour = shade * (1 - share) + hot * share
    return np.where(view.mask.numpy()[..., None], 255 * colour.clip(0, 1), 20).astype(np.uint8)


def _grey(values: Float[Tensor, "height width"]) -> Picture:
    return np.repeat((255 * values).round().to(torch.uint8).numpy()[..., None], 3, -1)


def _marked(panel: Picture, at: tuple[float, float]) -> Picture:
    canvas = cv2.resize(panel, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    place = round(at[0] * SIDE), round(at[1] * SIDE)
    cv2.drawMarker(canvas, place, (255, 255, 255), cv2.MARKER_CROSS, 15, 3, cv2.LINE_AA)
    cv2.drawMarker(canvas, place, PIXEL, cv2.MARKER_CROSS, 13, 1, cv2.LINE_AA)
    return canvas


def _named(panel: Picture, name: str) -> Picture:
    """The panel at its size with its name below, and a white margin."""
    canvas = np.full((SIDE + 26, SIDE + 8, 3), 255, np.uint8)
    canvas[4 : SIDE + 4, 4 : SIDE + 4] = cv2.resize(panel, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    cv2.putText(canvas, name, (6, SIDE + 20), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return canvas
