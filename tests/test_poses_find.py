"""One photo, one object: which of the poses in a crop is the photo's."""

from dataclasses import replace

import numpy as np
import torch

from maquette.poses.find import find_in_box
from maquette.render.mesh import Mesh, MeshRenderer
from maquette.render.views import silhouette_box
from toy_video import VIDEO_CAMERA, film, make_finder, motion


def test_a_pose_that_nobody_looked_at_does_not_win():
    """Colours speak against every pose that is looked at, so those left aside are the more confident."""
    finder, rng = make_finder(network=True), np.random.default_rng(0)
    mesh = finder.renderer.mesh
    wrong = Mesh(mesh.vertices, mesh.faces, torch.as_tensor(rng.random((len(mesh.vertices), 3))).float())
    quick = replace(finder.settings, triples=300, scored=24, refined=3, finished=3, aligned=1)
    misled = replace(finder, renderer=MeshRenderer(wrong), settings=quick)
    for index, pose in enumerate(motion(2)):
        frame = film(finder, pose, index).astype(int)
        noisy = frame + rng.normal(0, 40, frame.shape) * (frame.max(-1, keepdims=True) > 40)
        box = silhouette_box(mesh.vertices.double().numpy(), VIDEO_CAMERA, pose)
        assert box is not None
        found = find_in_box(noisy.clip(0, 255).astype(np.uint8), VIDEO_CAMERA, box, misled, rng)
        assert found is not None and found.agreement is not None and found.covariance is not None
