"""Dense descriptors of a small ImageNet network (SqueezeNet 1.0, Iandola et al. 2016): 5 MB that run anywhere.

The weights are an .npz of arrays `conv1_w`, `fire2__conv1x1_1_w` (squeeze), `fire2__conv1x1_2_w` and
`fire2__conv3x3_2_w` (expand), ...; outputs x inputs x height x width.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from maquette.data.errors import InputError
from maquette.masks.dense import Dense

Weights = dict[str, Tensor]
MEAN_BGR = (104.0, 117.0, 123.0)
_FIRES = tuple(f"fire{index}" for index in range(2, 9))
_NEEDED = tuple(
    f"{part}_{kind}"
    for kind in "wb"
    for part in ("conv1", *(f"{f}__{c}" for f in _FIRES for c in ("conv1x1_1", "conv1x1_2", "conv3x3_2")))
)


def load_squeezenet(path: Path) -> Weights:
    """The arrays as tensors. Raises InputError for another kind of file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            weights = {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an .npz of SqueezeNet's weights ({error}).") from None
    if missing := [name for name in _NEEDED if name not in weights]:
        raise InputError(f"{path} is not SqueezeNet 1.0: it has no {missing[0]}.")
    return weights


def squeezenet_descriptors(weights: Weights, pixels: UInt8[np.ndarray, "height width 3"]) -> Dense:
    """Every fourth pixel: what fire4 says in detail and fire8, at half that density, in words of its own.

    Both halves have the same length, so both have a say.
    """
    device = weights["conv1_w"].device
    bgr = torch.as_tensor(pixels[..., ::-1].copy(), device=device).permute(2, 0, 1)[None].float()
    fine, coarse = squeezenet_maps(weights, bgr - torch.tensor(MEAN_BGR, device=device)[:, None, None])
    # Coarse cell j lies at fine cell 2 j: one more cell at the end, and the corners of both grids coincide.
    rows, columns = coarse.shape[-2:]
    padded = F.pad(coarse, (0, 1, 0, 1), mode="replicate")
    enlarged = F.interpolate(padded, (2 * rows + 1, 2 * columns + 1), mode="bilinear", align_corners=True)
    enlarged = enlarged[..., : fine.shape[-2], : fine.shape[-1]]
    both = F.normalize(torch.cat([F.normalize(fine, dim=1), F.normalize(enlarged, dim=1)], 1), dim=1)
    return Dense(both[0].permute(1, 2, 0).cpu().numpy(), 0.5, 4.0)


def squeezenet_maps(
    weights: Weights, bgr: Float[Tensor, "1 3 height width"]
) -> tuple[Float[Tensor, "1 256 row column"], Float[Tensor, "1 512 row2 column2"]]:
    """fire4's and fire8's outputs; cell (r, c) at pixel (4 c + .5, 4 r + .5), or 8 c and 8 r.

    Deviates: every layer is padded by half its width, so that cells lie on one grid up to the border.
    """
    x = F.relu(F.conv2d(bgr, weights["conv1_w"], weights["conv1_b"], stride=2, padding=3))
    x = F.max_pool2d(x, 3, 2, 1)
    for name in _FIRES[:3]:
        x = _fire(weights, name, x)
    fine = x
    x = F.max_pool2d(x, 3, 2, 1)
    for name in _FIRES[3:]:
        x = _fire(weights, name, x)
    return fine, x


def _fire(weights: Weights, name: str, x: Tensor) -> Tensor:
    def layer(part: str, x: Tensor, padding: int = 0) -> Tensor:
        return F.relu(F.conv2d(x, weights[f"{name}__{part}_w"], weights[f"{name}__{part}_b"], padding=padding))

    squeezed = layer("conv1x1_1", x)
    return torch.cat([layer("conv1x1_2", squeezed), layer("conv3x3_2", squeezed, padding=1)], 1)
