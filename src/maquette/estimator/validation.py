"""What a trained estimator knows of views it has not seen, as numbers and as a picture."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from maquette.estimator.batches import Batch
from maquette.estimator.losses import info_nce
from maquette.estimator.model import Estimator


@dataclass(frozen=True)
class Validation:
    """Over the visible pixels of unseen training-like views.

    `nce`: nats, against 1,024 surface points. `median_error`: distance between the most likely and the true
    surface point, as a share of the diameter. `near`: share of pixels within a tenth of the diameter.
    """

    nce: float
    mask_iou: float
    visible_iou: float
    median_error: float
    near: float


@torch.inference_mode()
def validate(estimator: Estimator, batch: Batch, rng: np.random.Generator) -> Validation:
    """Numbers over one batch; hidden pixels do not count for the correspondences."""
    queries = estimator.encode(batch.crops.permute(0, 3, 1, 2).float() / 255)
    flat = queries.query.flatten(1, 2)
    chosen = flat.gather(1, batch.pixel_idx[..., None].expand(-1, -1, flat.shape[-1]))
    positives = estimator.keys_of(batch.points_obj.reshape(-1, 3)).reshape(chosen.shape)
    negatives = estimator.keys[torch.as_tensor(rng.choice(len(estimator.keys), 1024, replace=False))]
    visible = batch.in_sight
    likeliest = torch.stack([estimator.points[(q @ estimator.keys.T).argmax(-1)] for q in chosen])
    error = ((likeliest - batch.points_obj).norm(dim=-1) / estimator.diameter)[visible > 0]
    return Validation(
        info_nce(chosen, positives, negatives, visible).item(),
        _iou(queries.mask_logit, batch.mask),
        _iou(queries.visible_logit, batch.visible),
        error.median().item() if len(error) else float("nan"),
        (error < 0.1).float().mean().item() if len(error) else float("nan"),
    )


@torch.inference_mode()
def contact_sheet(
    estimator: Estimator, batch: Batch, truth_obj: Float[Tensor, "crop height width 3"]
) -> UInt8[np.ndarray, "rows columns 3"]:
    """A row per crop: the crop, its mask and visible mask, three directions of its queries, the most likely
    surface coordinates and the true ones as colours. `truth_obj` is NaN where nothing is."""
    queries = estimator.encode(batch.crops.permute(0, 3, 1, 2).float() / 255)
    size = batch.crops.shape[1]
    _, _, directions = torch.pca_lowrank(estimator.keys, 3)
    low, span = estimator.points.amin(0), (estimator.points.amax(0) - estimator.points.amin(0)).clamp(min=1e-9)
    rows = []
    for idx in range(len(batch.crops)):
        inside = (queries.mask_logit[idx] > 0)[..., None]
        best = estimator.points[(queries.query[idx].flatten(0, 1) @ estimator.keys.T).argmax(-1)]
        colours = (torch.tanh(0.3 * queries.query[idx] @ directions) + 1) / 2
        panels = [
            torch.sigmoid(queries.mask_logit[idx])[..., None].expand(-1, -1, 3),
            torch.sigmoid(queries.visible_logit[idx])[..., None].expand(-1, -1, 3),
            colours * inside,
            ((best.reshape(*inside.shape[:2], 3) - low) / span) * inside,
            torch.where(truth_obj[idx].isnan(), 0.0, (truth_obj[idx] - low) / span),
        ]
        grown = [_grown(panel, size) for panel in panels]
        rows.append(np.concatenate([batch.crops[idx].numpy(), *grown], axis=1))
    return np.concatenate(rows, axis=0)


def _grown(panel: Float[Tensor, "height width 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    pixels = (panel.clamp(0, 1) * 255).to(torch.uint8).numpy()
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_NEAREST)


def _iou(logits: Float[Tensor, "crop height width"], target: Float[Tensor, "crop height width"]) -> float:
    predicted, true = logits > 0, target >= 0.5
    return ((predicted & true).sum() / (predicted | true).sum().clamp(min=1)).item()
