"""What the stage reads of photos and masks: photos to take colours from, and how far a place is in the masks."""

import cv2
import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates

from maquette.asset.looks import Photo, trusted
from maquette.data.captures import load_ignored
from maquette.data.images import read_mask, read_photo, resize_area
from maquette.data.jsonio import read_record
from maquette.data.records import Capture, MaskRecords, View
from maquette.data.workspace import Workspace
from maquette.fields.noise import Noise
from maquette.fields.photos import learnt_views
from maquette.fields.rays import shrunk_ignored, training_camera
from maquette.geometry.transforms import apply, centre_of

MOST = 120
"""Photos that colours are taken from; each takes up to 14 MB (a texture of 2048 texels), an object in view less."""
Masks = dict[str, Float[np.ndarray, "height width"]]


def photos_to_colour_from(
    workspace: Workspace, capture: Capture, masks: Masks, across: int, noise: Noise
) -> list[Photo]:
    """The learnt photos, cut to the object's sphere, with the masks rendered for them, edges taken back.

    None is finer than `across` pixels over the sphere. Of more than `MOST` those that stand farthest apart: all of
    them are in memory at once.
    """
    photos = []
    records = read_record(workspace.masks / "masks.json", MaskRecords).photos
    doubtful = {record.photo for record in records if record.lost or record.agreement < 0.8}
    for view in _spread(capture.learnt, MOST):
        camera = training_camera(view, capture.sphere, across)
        size = camera.width, camera.height
        mask = resize_area(masks[view.name].astype(np.float32), *size)
        if view.name in doubtful:
            # Something stands before the object. The coarse mask's own edge is not to be trusted to the pixel.
            coarse = noise.spoilt(read_mask(workspace.coarse_mask(view.name)), view.name).astype(np.uint8)
            coarse = cv2.dilate(coarse, np.ones((3, 3), np.uint8)).astype(np.float32)
            mask = mask * resize_area(coarse, *size)
        ignored = load_ignored(workspace, view)
        if ignored is not None:
            mask = np.where(shrunk_ignored(ignored, *size), 0.0, mask)
        pixels = resize_area(read_photo(workspace.photo(view.name)), *size)
        whole = 0, 0, camera.width, camera.height
        x0, y0, x1, y1 = capture.sphere.window_in(camera, view.cam_from_world) or whole
        window, inner = camera.cropped(float(x0), float(y0), x1 - x0, y1 - y0), (slice(y0, y1), slice(x0, x1))
        photo = Photo(window, view.cam_from_world, pixels[inner].copy(), mask[inner].astype(np.float32))
        photos.append(trusted(photo))
    return photos


def _spread(views: tuple[View, ...], most: int) -> list[View]:
    """At most so many views, in order: each next one stands farthest from all that were taken before."""
    if len(views) <= most:
        return list(views)
    centres = np.stack([centre_of(view.cam_from_world) for view in views])
    taken, nearest = [0], np.linalg.norm(centres - centres[0], axis=-1)
    while len(taken) < most:
        taken.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(centres - centres[taken[-1]], axis=-1))
    return [views[idx] for idx in sorted(taken)]


def mask_votes(
    workspace: Workspace, capture: Capture, points_unit: Float[np.ndarray, "point 3"], noise: Noise, side: int = 56
) -> Float[np.ndarray, "point"]:
    """Per point of the unit cube, the share of learnt photos whose coarse mask holds it, of those whose mask is not
    lost and that do not ignore its pixel; from a grid of side^3.
    """
    axis = np.linspace(-1, 1, side)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    grid_world = apply(capture.sphere.world_from_unit, grid)
    views = learnt_views(workspace, capture, least_agreement=0.0)
    votes, asked = np.zeros(len(grid)), np.full(len(grid), len(views))
    for view in views:
        mask = noise.spoilt(read_mask(workspace.coarse_mask(view.name)), view.name)
        camera = view.camera.resized(mask.shape[1], mask.shape[0])
        seen, row, column = camera.pixels_in_sight(apply(view.cam_from_world, grid_world))
        if (ignored := load_ignored(workspace, view)) is not None:
            hidden = shrunk_ignored(ignored, *mask.shape[::-1])[row, column]
            asked[seen[hidden]] -= 1
            seen, row, column = (part[~hidden] for part in (seen, row, column))
        votes[seen] += mask[row, column]
    places = (points_unit.T + 1) * 0.5 * (side - 1)
    cube = (votes / np.maximum(asked, 1)).reshape(side, side, side)
    return np.asarray(map_coordinates(cube, places, order=1, mode="nearest"))
