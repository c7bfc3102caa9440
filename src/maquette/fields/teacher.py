"""Features that the baseline DFF learns beside colour: a dense extractor's, of the photos at training resolution.

Source: Kobayashi et al. 2022, whose teachers are LSeg and DINO.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from maquette.data.errors import InputError
from maquette.kernels.device import Device, device_named
from maquette.masks.dense import Dense, at_cells, nearest_cells
from maquette.masks.extractors import FeatureName, load_extractor

MOST = 24
"""Photos that say what is usual; the memory of a network's own features grows with them."""


@dataclass(frozen=True)
class TeacherConfig:
    """Whose features the baseline dff learns."""

    features: FeatureName = "appearance"
    """appearance: colour and texture, no weights. dino, dinov2, squeezenet: as for --masks.features."""
    weights: str | None = None
    """The network's weights: a file, a folder, or a name on the hub."""
    channels: int = 32
    """Longer features are brought to this length, by their principal components over all photos."""


@dataclass(frozen=True)
class FeatureImage:
    """Features of a photo's cells, and for each of its rows and columns of pixels the nearest cells' one."""

    cells: Float32[np.ndarray, "row column feature"]
    row_of: Int[np.ndarray, "height"]
    column_of: Int[np.ndarray, "width"]

    def at(
        self, row: Int[np.ndarray, "place"], column: Int[np.ndarray, "place"]
    ) -> Float32[np.ndarray, "place feature"]:
        """The features of pixels."""
        return self.cells[self.row_of[row], self.column_of[column]]


def feature_images(
    photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    request: TeacherConfig,
    device: Device,
    ignored: Sequence[Bool[np.ndarray, "_ _"] | None] | None = None,
) -> list[FeatureImage]:
    """Features of each photo, over what is not ignored of the photos of mean 0 and, on average over channels, of
    variance 1.

    Raises InputError where the network's weights are not to be had, or there are no channels.
    """
    if request.channels < 1:
        raise InputError(f"--fields.teacher.channels must be at least 1, got {request.channels}")
    where = device_named(device, "--fields.device")
    extract = load_extractor(request.features, request.weights, None, where, "--fields.teacher")
    some = np.linspace(0, len(photos) - 1, min(len(photos), MOST)).round().astype(int)
    known = {int(idx): extract(photos[idx]) for idx in some}
    bars = ignored or [None] * len(photos)
    used = [_used(dense, bars[idx]) for idx, dense in known.items()]
    mean, directions = standard_form(used, request.channels)
    return [
        _image(known[idx] if idx in known else extract(photo), len(photo), photo.shape[1], mean, directions)
        for idx, photo in enumerate(photos)
    ]


def _used(dense: Dense, ignored: Bool[np.ndarray, "height width"] | None) -> Float[np.ndarray, "... feature"]:
    """The features of cells whose centre is not ignored."""
    return dense.descriptors if ignored is None else dense.descriptors[~at_cells(ignored, dense)]


def _image(
    dense: Dense,
    height: int,
    width: int,
    mean: Float[np.ndarray, "feature"],
    directions: Float[np.ndarray, "feature channel"],
) -> FeatureImage:
    cells = ((dense.descriptors - mean) @ directions).astype(np.float32)
    rows, columns = cells.shape[:2]
    return FeatureImage(cells, nearest_cells(height, rows, dense), nearest_cells(width, columns, dense))


def standard_form(
    images: Sequence[Float[np.ndarray, "... feature"]], most: int
) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature channel"]]:
    """The mean over all cells, and what features less it are multiplied by: each channel over its deviation; more
    than `most` channels become their `most` principal components, all over the same."""
    flat = np.concatenate([image.reshape(-1, image.shape[-1]) for image in images]).astype(np.float64)
    mean = flat.mean(0)
    if flat.shape[1] <= most:
        return mean, np.diag(1 / (flat.std(0) + 1e-6))
    variances, directions = np.linalg.eigh(np.cov(flat, rowvar=False))
    return mean, directions[:, -most:] / np.sqrt(variances[-most:].mean() + 1e-12)
