"""What the network says of a crop, alone or over quarter turns of it."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from maquette.estimator.crops import crop_camera, crop_photo
from maquette.estimator.model import Estimator
from maquette.estimator.networks import Queries
from maquette.geometry.camera import Camera
from maquette.matching.distribution import Observation


def observe(
    photo: UInt8[np.ndarray, "height width 3"],
    camera: Camera,
    window: tuple[float, float, float],
    estimator: Estimator,
    turns: int = 1,
) -> Observation:
    """What the network says of a square window (x0, y0, side; pixels of the undistorted photo)."""
    crop = torch.as_tensor(crop_photo(photo, window, estimator.crop_size))[None]
    said = encode_turned(estimator, crop, turns)
    return Observation(
        crop_camera(camera, window, estimator.output_size),
        said.mask_logit[0].float().cpu(),
        said.query[0].float().contiguous().cpu(),
        said.visible_logit[0].float().cpu(),
    )


def encode_turned(estimator: Estimator, crops: Float[Tensor, "crop 3 side side"], turns: int) -> Queries:
    """Queries and mask logits averaged over the crops turned by the first `turns` multiples of 90 degrees, each
    turned back (SurfEmb's ensemble for `turns` = 4). For networks that learnt all rotations.
    """
    if turns == 1:
        return estimator.encode(crops)
    said = [estimator.encode(torch.rot90(crops, turn, (2, 3)).contiguous()) for turn in range(turns)]
    return Queries(
        *(
            torch.stack([torch.rot90(getattr(one, name), -turn, (1, 2)) for turn, one in enumerate(said)]).mean(0)
            for name in Queries.__dataclass_fields__
        )
    )
