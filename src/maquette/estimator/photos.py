"""Training crops from real photos with known poses: the capture's own, or a data set's.

A photo turned about its optical axis is what a camera with a turned pose sees, so a crop of it, turned, shifted and
resized, is a photo like any other: x_photo = K R_z(-a) K_crop^-1 x_crop, an affine map. Truth is the mesh at the
photo's pose; what is in sight says the photo's mask.

The capture's surroundings are the place of its later photos, and nothing may be learnt from them: they always give
way to other pictures in training, and a pixel of the object's rim with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from maquette.estimator.appearance import photograph
from maquette.estimator.batches import Batch, Crop, Scene
from maquette.estimator.crops import crop_window
from maquette.estimator.dressing import Dressing, replaced
from maquette.estimator.occluders import Props, hide
from maquette.estimator.pictures import Picture, cut_patch
from maquette.estimator.viewpoints import CropViews, ViewRange, about_axis, zoomed
from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4
from maquette.render.views import silhouette_box

Surroundings = Literal["replaced", "as taken"]
# Side of what is kept of a photo over the longer side of the object's box: a turned, shifted crop fits in.
KEPT = 2.2
# A photo is used where its mask lies within the mesh's silhouette to this share, and shows this much of it.
WITHIN, SHOWN = 0.85, 0.15


@dataclass(frozen=True)
class Shot:
    """A window of one photo around the object. `share` is the object's, 0..255; the camera is the window's."""

    name: str
    camera: Camera
    cam_from_obj: Matrix4
    pixels: UInt8[np.ndarray, "height width 3"]
    share: UInt8[np.ndarray, "height width"]


def make_shot(
    scene: Scene,
    name: str,
    photo: UInt8[np.ndarray, "height width 3"],
    seen: Bool[np.ndarray, "height width"],
    camera: Camera,
    cam_from_obj: Matrix4,
    crop_size: int,
) -> Shot | None:
    """The window of a photo; None where the object is out of the photo or its mask contradicts its silhouette."""
    box = silhouette_box(scene.hull, camera, cam_from_obj)
    if box is None or max(box[2] - box[0], box[3] - box[1]) < 8:
        return None
    x0, y0, side = crop_window(box, KEPT)
    left, top = max(0, int(x0)), max(0, int(y0))
    right, bottom = min(camera.width, int(x0 + side) + 1), min(camera.height, int(y0 + side) + 1)
    if right - left < 8 or bottom - top < 8:
        return None
    window = camera.cropped(float(left), float(top), right - left, bottom - top)
    zoom = min(1.0, crop_size * KEPT / side)
    small = window.resized(max(1, round(window.width * zoom)), max(1, round(window.height * zoom)))
    pixels, share = (
        np.asarray(
            cv2.resize(part[top:bottom, left:right], (small.width, small.height), interpolation=cv2.INTER_AREA)
        )
        for part in (photo, seen.astype(np.uint8) * 255)
    )
    shot = Shot(name, small, cam_from_obj, pixels, share)
    return shot if _fits(scene, shot) else None


class PhotoCrops:
    """Crops of photos, a batch at a time. Memory: 4 bytes for each of at most (KEPT x crop)^2 pixels a photo."""

    def __init__(
        self, scene: Scene, shots: Sequence[Shot], views: ViewRange, surroundings: Surroundings, occluded: bool
    ) -> None:
        """`occluded`: whether to put more things in front of the object (photos of heaps have their own)."""
        self._scene, self._views = scene, replace(views, photo=None)
        self.shots = tuple(solid(shot) for shot in shots) if surroundings == "replaced" else tuple(shots)
        self._surroundings, self._occluded = surroundings, occluded

    def draw_batch(self, count: int, size: int, pixels: int, dressing: Dressing, rng: np.random.Generator) -> Batch:
        """`count` random shots, turned and jittered as rendered views are, dressed, with `pixels` points each."""
        chosen = rng.integers(len(self.shots), size=count)
        views = self._turned(chosen, size, rng)
        masks = self._scene.render(views).buffers.mask.numpy().astype(bool)
        crops = [
            self._dressed(views, view, self.shots[shot], masks[view], dressing, rng)
            for view, shot in enumerate(chosen)
        ]
        return self._scene.batch_of(crops, views, np.arange(count), pixels, dressing.hidden_weight, rng)

    def plain_batch(
        self, shot_idx: Int[np.ndarray, "crop"], size: int, pixels: int, pictures: list[Picture] | None = None
    ) -> Batch:
        """The given shots as a detector's box would cut them, upright and in their own light, for validation.

        As taken; or with all that is not the object replaced by pieces of `pictures`. The same every time.
        """
        rng = np.random.default_rng(0)
        still = replace(
            self._views, roll_deg=0.0, all_rotations=False, scale_jitter=0.0, offset_jitter=0.0, aspect=0.0
        )
        views = self._views_of(shot_idx, np.zeros(len(shot_idx)), still, size, rng)
        masks = self._scene.render(views).buffers.mask.numpy().astype(bool)
        crops = []
        for view, shot in enumerate(shot_idx):
            image, share = warped(self.shots[shot], views, view)
            seen = share > 0.5
            if pictures is not None:
                image = replaced(image, share, cut_patch(pictures, size, rng))
            crops.append(Crop(image, masks[view] | seen, seen))
        return self._scene.batch_of(crops, views, np.arange(len(shot_idx)), pixels, 0.0, rng)

    def _turned(self, chosen: Int[np.ndarray, "crop"], size: int, rng: np.random.Generator) -> CropViews:
        most = np.pi if self._views.all_rotations else np.radians(self._views.roll_deg)
        return self._views_of(chosen, rng.uniform(-most, most, len(chosen)), self._views, size, rng)

    def _views_of(
        self,
        chosen: Int[np.ndarray, "crop"],
        turn: Float[np.ndarray, "crop"],
        views: ViewRange,
        size: int,
        rng: np.random.Generator,
    ) -> CropViews:
        poses = np.stack([self.shots[shot].cam_from_obj for shot in chosen])
        turned = about_axis(turn) @ poses[:, :3, :3]
        moved = np.einsum("vij,vj->vi", about_axis(turn), poses[:, :3, 3])
        return zoomed(self._scene.hull, turned, moved, views, size, rng)

    def _dressed(
        self,
        views: CropViews,
        view: int,
        shot: Shot,
        silhouette: Bool[np.ndarray, "size size"],
        dressing: Dressing,
        rng: np.random.Generator,
    ) -> Crop:
        image, share = warped(shot, views, view)
        if self._surroundings == "replaced":
            image = replaced(image, share, cut_patch(dressing.pictures, views.size, rng))
        visible = share > 0.5
        # The mesh may be a little smaller than the photo shows the object.
        mask = silhouette | visible
        if self._occluded:
            props = Props(dressing.pictures, dressing.sprites)
            image, visible = hide(image, visible, views.box[view], dressing.occlusion, props, rng)
        return Crop(photograph(image, dressing.appearance, rng), mask, visible)


def solid(shot: Shot) -> Shot:
    """The shot without the rim of its mask: whatever pixels lie beside one that is left show the object alone."""
    whole = (shot.share >= 250).astype(np.uint8) * 255
    share = cv2.erode(whole, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return replace(shot, share=np.asarray(share, dtype=np.uint8))


def warped(
    shot: Shot, views: CropViews, view: int
) -> tuple[UInt8[np.ndarray, "size size 3"], Float[np.ndarray, "size size"]]:
    """A shot as a crop's camera sees it, and the object's share of every pixel; the border is repeated outside."""
    turn = shot.cam_from_obj[:3, :3] @ views.rotation[view].T
    photo_from_crop = shot.camera.matrix @ turn @ np.linalg.inv(views.camera(view).matrix)
    pixels, share = shot.pixels, shot.share
    # Half the resolution where the crop would skip every other pixel.
    while np.sqrt(abs(np.linalg.det(photo_from_crop[:2, :2]))) > 1.6 and min(pixels.shape[:2]) > 16:
        half = (pixels.shape[1] // 2, pixels.shape[0] // 2)
        zoom = np.array([half[0] / pixels.shape[1], half[1] / pixels.shape[0], 1.0])
        pixels, share = (cv2.resize(part, half, interpolation=cv2.INTER_AREA) for part in (pixels, share))
        photo_from_crop = zoom[:, None] * photo_from_crop
    # warpAffine counts pixels' centres as whole numbers.
    affine = photo_from_crop[:2] / photo_from_crop[2, 2]
    affine[:, 2] += affine[:, :2] @ [0.5, 0.5] - 0.5
    size, flags = (views.size, views.size), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(pixels, affine, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(share, affine, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(image, dtype=np.uint8), np.asarray(inside, dtype=np.float32) / np.float32(255)


def _fits(scene: Scene, shot: Shot) -> bool:
    silhouette = scene.silhouette(shot.camera, shot.cam_from_obj)
    seen = shot.share > 127
    both = np.count_nonzero(silhouette & seen)
    within = both >= WITHIN * max(np.count_nonzero(seen), 1)
    return bool(within and both >= SHOWN * max(np.count_nonzero(silhouette), 1))
