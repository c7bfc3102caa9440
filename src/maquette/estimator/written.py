"""Training views written down as a BOP dataset, for other programs to learn from."""

from pathlib import Path

import numpy as np

from maquette.asset.bop_model import write_bop_model
from maquette.data.formats.bop_scene import BopInstance, BopView
from maquette.data.formats.bop_write import visibility_of, write_camera, write_scene
from maquette.data.images import write_image
from maquette.data.progress import track
from maquette.estimator.batches import Scene
from maquette.estimator.dressing import Dressing, Pool, dress
from maquette.estimator.viewpoints import ViewRange
from maquette.geometry.lens import Lens
from maquette.geometry.symmetry import Symmetries

OBJECT_ID = 1
TOGETHER = 64
NONE = Symmetries()


def write_views(
    folder: Path,
    scene: Scene,
    views: ViewRange,
    dressing: Dressing,
    count: int,
    size: int,
    rng: np.random.Generator,
    symmetries: Symmetries = NONE,
) -> None:
    """`count` dressed crops in `folder`: camera.json, models/, train/000001/ with rgb, mask and mask_visib.

    Every crop is an image with a camera of its own; the scene's mesh, and its `symmetries`, must be in metres.
    """
    place = folder / "train" / f"{OBJECT_ID:06d}"
    for name in ("rgb", "mask", "mask_visib"):
        (place / name).mkdir(parents=True)
    written: list[BopView] = []
    for first in track(list(range(0, count, TOGETHER)), "training views"):
        pool = scene.draw_pool(min(TOGETHER, count - first), size, views, rng)
        written += [
            _write(place, pool, view, first + view, dressing, rng) for view in range(len(pool.buffers.mask))
        ]
    write_scene(place, written)
    first_lens = written[0].lens
    assert first_lens is not None
    write_camera(folder / "camera.json", first_lens)
    write_bop_model(folder / "models", OBJECT_ID, scene.mesh, scene.diameter, symmetries)


def _write(place: Path, pool: Pool, view: int, im_id: int, dressing: Dressing, rng: np.random.Generator) -> BopView:
    image, visible = dress(pool, view, dressing, rng)
    silhouette = pool.buffers.mask[view].numpy().astype(bool)
    photo = place / "rgb" / f"{im_id:06d}.png"
    write_image(photo, image)
    for name, mask in (("mask", silhouette), ("mask_visib", visible)):
        write_image(place / name / f"{im_id:06d}_000000.png", mask)
    pose = pool.views.cam_from_obj(view)
    instance = BopInstance(OBJECT_ID, 0, pose, visibility_of(silhouette, visible), None, None)
    return BopView(im_id, photo, Lens.of_pinhole(pool.views.camera(view)), None, None, (instance,))
