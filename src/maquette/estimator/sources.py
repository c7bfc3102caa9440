"""x"""
import numpy as np
from maquette.estimator.batches import Scene
from maquette.estimator.sprites import LONGEST, Look
from maquette.estimator.viewpoints import CropViews, ViewRange
from maquette.kernels.cropviews import PixelBuffers
from maquette.render.mesh import Mesh

def all_around(rng: np.random.Generator) -> Look:
    """Views of a mesh from anywhere."""

    def look(mesh: Mesh, count: int) -> tuple[CropViews, PixelBuffers]:
        pool = Scene(mesh, LONGEST).draw_pool(count, LONGEST, ViewRange(all_rotations=True), rng)
        return pool.views, pool.buffers

    return look
