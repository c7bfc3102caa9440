"""Where could the object be? The network over the whole photo, at every size the object may have.

The query network is fully convolutional, so one pass over a photo, shrunk until an object of some size would fill
a crop as it did in training, answers for all places at that size. It saw crops with the object in their middle and
nothing else, so its mask runs over half a photo; what stands out is where mask and sure correspondences meet:
  I_u = 1 + sum_j P_uj log P_uj / log m     information of pixel u: 0 for no idea, 1 for one single point
  h_u = sigmoid(mask logit) I_u             heat
  s   = mean of h over the object's square - half of its mean over a square twice as wide
The highest peaks of s over all sizes, and the parts of the masks that stand alone, are looked at twice more, each
in a crop of its own, which is what the network was trained for: where the pass saw it, then where the crop did.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from maquette.estimator.crops import Box, crop_photo, crop_window
from maquette.estimator.model import Estimator
from maquette.estimator.networks import CROP_MULTIPLE, Queries

# Heat is taken over squares of so many pixels of the output: a quarter of the time, and no place is lost.
POOL = 2


@dataclass(frozen=True)
class ScanSettings:
    """How a photo is searched for the object where nobody says where it is."""

    smallest: float = 0.12
    """Least size of the object (longer side of its box) that is looked for, in shorter sides of the photo."""
    largest: float = 0.95
    """Greatest size that is looked for."""
    step: float = 1.5
    """Ratio of sizes between one pass and the next."""
    coarse: float = 0.8
    """Resolution of the passes, in that of the crops the network was trained on; time goes with its square."""
    looked_at: int = 12
    """Places that get a crop of their own."""
    least: float = 0.2
    """Scores below this are no sighting (0..1: mask probability x information x fit of the size)."""


@dataclass(frozen=True)
class Sighting:
    """A place where the object may be: box in pixels of the photo, score 0..1."""

    box: Box
    score: float


def scan_photo(
    photo: UInt8[np.ndarray, "height width 3"],
    estimator: Estimator,
    settings: ScanSettings = ScanSettings(),
    count: int = 3,
) -> list[Sighting]:
    """At most `count` sightings that do not overlap, best first; none where nothing looks like the object."""
    keys, few = _thinned(estimator.keys, 1000), _thinned(estimator.keys, 250)
    found: list[Sighting] = []
    outlined: list[Sighting] = []
    for size in object_sizes(photo.shape[0], photo.shape[1], settings):
        zoom = settings.coarse * estimator.crop_size / (estimator.crop_scale * size)
        picture, rim = level_picture(photo, zoom)
        queries = _inside(estimator.encode(torch.as_tensor(picture)[None]), rim // 2, photo, zoom / 2)
        expected = settings.coarse * estimator.output_size / estimator.crop_scale
        for sighting in peaks(heat(queries, few), expected / POOL, settings.looked_at):
            found.append(_placed(sighting, 2 * POOL / zoom, 0.0, 0.0, photo))
        for sighting in blobs(queries, keys, expected):
            outlined.append(_placed(sighting, 2 / zoom, 0.0, 0.0, photo))
    best = suppressed(found, settings.looked_at) + suppressed(outlined, settings.looked_at // 2)
    for width in (settings.looked_at, count):
        looked = _look_closer(photo, best, estimator, keys)
        best = suppressed([sighting for sighting in looked if sighting.score >= settings.least], width)
    return best


def heat(
    queries: Queries, keys: Float[Tensor, "point key"], least: float = 0.1
) -> Float[np.ndarray, "height width"]:
    """h of the first picture, at 1 / POOL of its resolution; 0 where the mask's probability is below `least`."""
    probability = F.avg_pool2d(queries.mask_logit[:1].float().sigmoid(), POOL, ceil_mode=True)[0]
    query = F.avg_pool2d(queries.query[:1].float().permute(0, 3, 1, 2), POOL, ceil_mode=True)[0]
    seen = probability > least
    result = torch.zeros_like(probability)
    rows = query.permute(1, 2, 0)[seen]
    informed = [informations(part, keys) for part in rows.split(4096)]
    result[seen] = probability[seen] * torch.cat(informed) if informed else 0.0
    return result.cpu().numpy()


def peaks(heated: Float[np.ndarray, "height width"], expected: float, most: int) -> list[Sighting]:
    """Squares of the expected side around the highest peaks of s, in pixels of the heat, best first."""
    inner, outer = (max(3, int(share * expected) | 1) for share in (0.8, 2.0))
    inside = cv2.blur(heated, (inner, inner), borderType=cv2.BORDER_CONSTANT)
    around = cv2.blur(heated, (outer, outer), borderType=cv2.BORDER_REPLICATE)
    standing = inside - 0.5 * around
    apart = max(3, inner // 2)
    top = (standing == cv2.dilate(standing, np.ones((apart, apart), np.uint8))) & (standing > 0)
    rows, columns = np.nonzero(top)
    order = np.argsort(-standing[rows, columns], kind="stable")[:most]
    half = expected / 2
    return [
        Sighting((c + 0.5 - half, r + 0.5 - half, c + 0.5 + half, r + 0.5 + half), float(standing[r, c]))
        for r, c in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    ]


def object_sizes(height: int, width: int, settings: ScanSettings) -> list[float]:
    """Sizes in pixels, `step` apart, between which no size is farther than half a step from one of them."""
    least, most = (share * min(height, width) for share in (settings.smallest, settings.largest))
    passes = max(1, math.ceil(math.log(most / least) / math.log(settings.step)))
    return [least * (most / least) ** ((i + 0.5) / passes) for i in range(passes)]


def level_picture(
    photo: UInt8[np.ndarray, "height width 3"], zoom: float
) -> tuple[Float[np.ndarray, "3 height2 width2"], int]:
    """The photo zoomed (0..1), a rim that repeats its border, sides that the network takes; and the rim's width.

    Pixel x of the photo lies at zoom * x + rim of the picture.
    """
    height, width = max(1, round(photo.shape[0] * zoom)), max(1, round(photo.shape[1] * zoom))
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    small = cv2.resize(photo, (width, height), interpolation=method)
    rim = CROP_MULTIPLE // 2
    bottom, right = rim + -(height + 2 * rim) % CROP_MULTIPLE, rim + -(width + 2 * rim) % CROP_MULTIPLE
    padded = cv2.copyMakeBorder(small, rim, bottom, rim, right, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(padded.transpose(2, 0, 1), dtype=np.float32) / 255, rim


def _inside(queries: Queries, rim: int, photo: UInt8[np.ndarray, "height width 3"], zoom: float) -> Queries:
    """What the network says of the photo itself; in the rim it sees the border's colours over and over."""
    rows = slice(rim, rim + max(1, round(photo.shape[0] * zoom)))
    columns = slice(rim, rim + max(1, round(photo.shape[1] * zoom)))
    return Queries(*(getattr(queries, name)[:, rows, columns] for name in Queries.__dataclass_fields__))


def blobs(queries: Queries, keys: Float[Tensor, "point key"], expected: float) -> list[Sighting]:
    """Connected parts of the first picture's mask, in pixels of the output; `expected` is the object's side there.

    Parts of less than a third or more than twice the expected side are left to another size.
    """
    probability = queries.mask_logit[0].float().sigmoid().cpu().numpy()
    mask = (probability > 0.5).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    found = []
    for label in range(1, count):
        x, y, width, height, area = (int(v) for v in stats[label])
        side = max(width, height)
        if not expected / 3 < side < 2 * expected or area < 0.15 * side * side:
            continue
        part = labels[y : y + height, x : x + width] == label
        inside = queries.query[0, y : y + height, x : x + width].cpu()[torch.as_tensor(part)].float()
        score = float(probability[y : y + height, x : x + width][part].mean()) * information(inside, keys)
        fit = math.exp(-0.5 * (math.log(side / expected) / 0.4) ** 2)
        found.append(Sighting((float(x), float(y), float(x + width), float(y + height)), score * fit))
    return found


def information(query: Float[Tensor, "pixel key"], keys: Float[Tensor, "point key"], most: int = 300) -> float:
    """Mean of I_u over (at most `most` of) the pixels."""
    query = query[:: max(1, -(-len(query) // most))]
    return float(informations(query, keys).mean())


def informations(query: Float[Tensor, "pixel key"], keys: Float[Tensor, "point key"]) -> Float[Tensor, "pixel"]:
    """I_u of each pixel, 0..1."""
    log_p = torch.log_softmax(query.to(keys.device) @ keys.T, -1)
    return 1 + (log_p.exp() * log_p).sum(-1) / math.log(len(keys))


def _thinned(keys: Float[Tensor, "point key"], count: int) -> Float[Tensor, "some key"]:
    return keys[:: max(1, len(keys) // count)]


def suppressed(sightings: list[Sighting], count: int, overlap: float = 0.4) -> list[Sighting]:
    """The best `count`, none of which overlaps a better one by more than this IoU, or lies inside it."""
    kept: list[Sighting] = []
    for sighting in sorted(sightings, key=lambda s: -s.score):
        if len(kept) == count:
            break
        if all(_overlap(sighting.box, other.box) < overlap for other in kept):
            kept.append(sighting)
    return kept


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    shared = _shared(a, b)
    return shared / max(_area(a) + _area(b) - shared, 1e-9)


def _overlap(a: Box, b: Box) -> float:
    """IoU; where one box lies in the other for the most part, the larger of that and half of the share inside."""
    return max(box_iou(a, b), 0.5 * _shared(a, b) / max(min(_area(a), _area(b)), 1e-9))


def _shared(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _look_closer(
    photo: UInt8[np.ndarray, "height width 3"],
    sightings: list[Sighting],
    estimator: Estimator,
    keys: Float[Tensor, "point key"],
) -> list[Sighting]:
    """The sightings with box and score from a crop of their own."""
    if not sightings:
        return []
    windows = [crop_window(sighting.box, estimator.crop_scale) for sighting in sightings]
    crops = np.stack([crop_photo(photo, window, estimator.crop_size) for window in windows])
    queries = estimator.encode(torch.as_tensor(crops))
    found = []
    for index, (x0, y0, side) in enumerate(windows):
        one = Queries(*(getattr(queries, name)[index : index + 1].cpu() for name in Queries.__dataclass_fields__))
        parts = blobs(one, keys.cpu(), estimator.output_size / estimator.crop_scale)
        if parts:
            best = max(parts, key=lambda part: part.score)
            found.append(_placed(best, side / estimator.output_size, x0, y0, photo))
    return found


def _placed(
    sighting: Sighting, scale: float, x: float, y: float, photo: UInt8[np.ndarray, "height width 3"]
) -> Sighting:
    """A sighting with its box scaled, moved to the photo and cut at its borders: pictures repeat beyond them."""
    height, width = photo.shape[:2]
    x0, y0, x1, y1 = sighting.box
    a, c = (float(np.clip(v * scale + x, 0, width)) for v in (x0, x1))
    b, d = (float(np.clip(v * scale + y, 0, height)) for v in (y0, y1))
    return Sighting((a, b, c, d), sighting.score)
