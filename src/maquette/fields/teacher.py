"""Features that the baseline DFF learns beside colour: a dense extractor's, of the photos at training resolution,
or of copies of those that are larger than any extractor needs.

Source: Kobayashi et al. 2022, whose teachers are LSeg and DINO.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped, UInt8

from maquette.data.errors import InputError
from maquette.data.images import resize_area
from maquette.kernels.device import Device, device_named
from maquette.masks.dense import Dense, at_cells, nearest_cells
from maquette.masks.extractors import FeatureName, load_extractor

MOST = 24
"""Photos that say what is usual; the memory of a network's own features grows with them."""
LONGEST = 1024
"""Pixels of the longer side of what is described: features of all pixels of photos as taken would be tens of GB."""
CELLS = 2**18
"""Cells that say what is usual, drawn from these photos where they have more."""


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
    seed: int = 0,
) -> list[FeatureImage]:
    """Features of each photo, over what is not ignored of the photos of mean 0 and, on average over channels, of
    variance 1. Of photos longer than `LONGEST` they are those of a copy that is not.

    Raises InputError where the network's weights are not to be had, or there are no channels.
    """
    if request.channels < 1:
        raise InputError(f"--fields.teacher.channels must be at least 1, got {request.channels}")
    where = device_named(device, "--fields.device")
    extract = load_extractor(request.features, request.weights, None, where, "--fields.teacher")
    some = np.linspace(0, len(photos) - 1, min(len(photos), MOST)).round().astype(int)
    known = {int(idx): extract(_bounded(photos[idx])) for idx in some}
    bars = ignored or [None] * len(photos)
    rng = np.random.default_rng(seed)
    used = [_drawn(_used(dense, bars[idx]), CELLS // len(known), rng) for idx, dense in known.items()]
    mean, directions = standard_form(used, request.channels)
    return [
        _image(known[idx] if idx in known else extract(_bounded(photo)), photo, mean, directions)
        for idx, photo in enumerate(photos)
    ]


def _bounded_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a picture whose longer side is at most `LONGEST`."""
    factor = min(1.0, LONGEST / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _bounded(photo: Shaped[np.ndarray, "height width *channel"]) -> Shaped[np.ndarray, "height2 width2 *channel"]:
    height, width = _bounded_size(*photo.shape[:2])
    return photo if photo.shape[:2] == (height, width) else resize_area(photo, width, height)


def _used(dense: Dense, ignored: Bool[np.ndarray, "height width"] | None) -> Float[np.ndarray, "cell feature"]:
    """The features of cells whose centre's pixel, which is several of a photo that was shrunk, is not ignored."""
    cells = dense.descriptors
    if ignored is not None:
        cells = cells[~at_cells(_bounded(ignored.astype(np.float32)) > 0, dense)]
    return cells.reshape(-1, cells.shape[-1])


def _drawn(
    cells: Float[np.ndarray, "cell feature"], most: int, rng: np.random.Generator
) -> Float[np.ndarray, "cell2 feature"]:
    """All cells, or `most` of them at random."""
    return cells if len(cells) <= most else cells[rng.choice(len(cells), most, replace=False)]


def _image(
    dense: Dense,
    photo: UInt8[np.ndarray, "height width 3"],
    mean: Float[np.ndarray, "feature"],
    directions: Float[np.ndarray, "feature channel"],
) -> FeatureImage:
    cells = ((dense.descriptors - mean) @ directions).astype(np.float32)
    full, shown = photo.shape[:2], _bounded_size(*photo.shape[:2])
    row_of, column_of = (
        nearest_cells(shown[side], cells.shape[side], dense)[_pixel_of(full[side], shown[side])] for side in (0, 1)
    )
    return FeatureImage(cells, row_of, column_of)


def _pixel_of(full: int, shown: int) -> Int[np.ndarray, "full"]:
    """Along one side of a photo: the pixel of its copy that holds each pixel's centre."""
    return ((np.arange(full) + 0.5) * shown / full).astype(np.int64)


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
