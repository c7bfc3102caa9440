"""Every dense extractor by its name on the command line. Loading reads weights; importing reads nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from maquette.data.errors import InputError
from maquette.masks.dense import Dense, Extractor
from maquette.masks.features import appearance
from maquette.masks.imagenet import as_tensor, normalised
from maquette.masks.squeezenet import load_squeezenet, squeezenet_descriptors
from maquette.masks.vit import VisionTransformer
from maquette.masks.weights import load_vit

FeatureName = Literal["appearance", "dino", "dinov2", "squeezenet"]
SALIENT_HEADS = (0, 2, 4, 5)
"""Heads of DINO ViT-S/8 that attend to things; 1 and 3 attend to what is behind them."""


def load_extractor(
    name: FeatureName, weights: str | None, stride: int | None, device: torch.device, options: str = "--masks"
) -> Extractor:
    """The extractor with its weights loaded; `options` is how those that are given here begin.

    Raises InputError where weights or stride do not fit it.
    """
    return LOADERS[name](weights, stride, device, options)


def load_appearance(weights: str | None, stride: int | None, device: torch.device, options: str) -> Extractor:
    """Colour and contrast of every pixel; there is nothing to load. Raises InputError for weights or a stride."""
    if weights is not None:
        raise InputError(
            f"{options}.weights is given, but {options}.features appearance uses none; name the features."
        )
    _refuse_stride("appearance", stride, "describes every pixel", options)
    return lambda pixels: Dense(appearance(pixels), 0.5, 1.0)


def load_dino(weights: str | None, stride: int | None, device: torch.device, options: str) -> Extractor:
    """ViT-S/8 of DINO, patches every 4 pixels."""
    model = load_vit(weights, "facebook/dino-vits8", options)
    return vit_extractor(model, stride or model.shape.patch // 2, device, options)


def load_dinov2(weights: str | None, stride: int | None, device: torch.device, options: str) -> Extractor:
    """ViT-S/14 of DINOv2, patches every 7 pixels."""
    model = load_vit(weights, "facebook/dinov2-small", options)
    return vit_extractor(model, stride or model.shape.patch // 2, device, options)


def load_small_network(weights: str | None, stride: int | None, device: torch.device, options: str) -> Extractor:
    """SqueezeNet from an .npz. Raises InputError without weights, or for a stride: its layers fix it."""
    _refuse_stride("squeezenet", stride, "describes every fourth pixel", options)
    if weights is None:
        raise InputError(f"{options}.features squeezenet needs {options}.weights FILE.npz, its ImageNet weights.")
    loaded = {name: tensor.to(device) for name, tensor in load_squeezenet(Path(weights)).items()}
    return lambda pixels: squeezenet_descriptors(loaded, pixels)


def _refuse_stride(name: FeatureName, stride: int | None, instead: str, options: str) -> None:
    if stride is not None:
        raise InputError(
            f"{options}.stride {stride} is for dino and dinov2; {options}.features {name} {instead}. Leave it out."
        )


LOADERS: dict[FeatureName, Callable[[str | None, int | None, torch.device, str], Extractor]] = {
    "appearance": load_appearance,
    "dino": load_dino,
    "dinov2": load_dinov2,
    "squeezenet": load_small_network,
}


def vit_extractor(
    model: VisionTransformer, stride: int, device: torch.device, options: str = "--masks"
) -> Extractor:
    """Directions of the last block's keys, and for ViT-S/8 what [CLS] attends to.

    The latter is read, as published, from the picture at half its size, without overlap. Memory grows with the
    number of cells, not with its square.

    Raises InputError for a stride that does not divide the patch.
    """
    patch = model.shape.patch
    if stride < 1 or patch % stride:
        fitting = ", ".join(str(s) for s in range(1, patch + 1) if patch % s == 0)
        raise InputError(f"{options}.stride {stride} does not divide the patch of {patch} pixels; use {fitting}.")
    model = model.to(device)
    attends = patch == 8 and model.shape.heads == 6 and not model.shape.layer_scale

    def extract(pixels: UInt8[np.ndarray, "height width 3"]) -> Dense:
        if min(pixels.shape[:2]) < 2 * patch:
            raise InputError(
                f"pictures of {pixels.shape[1]} x {pixels.shape[0]} are too small for patches of {patch}; see "
                "--masks.crop or --fields.object-pixels."
            )
        keys, _ = model(normalised(as_tensor(pixels, device)), stride)
        saliency = None
        if attends:
            height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
            half = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
            coarse = cls_saliency(model(normalised(as_tensor(half, device)), patch)[1])
            saliency = F.interpolate(coarse[None, None], keys.shape[:2])[0, 0].cpu().numpy()
        return Dense(F.normalize(keys, dim=-1).cpu().numpy(), patch / 2, float(stride), saliency)

    return extract


def cls_saliency(attention: Float[Tensor, "6 row column"]) -> Float[Tensor, "row column"]:
    """Mean attention of the heads that attend to things, stretched to 0..1."""
    mean = attention[list(SALIENT_HEADS)].mean(0)
    low, high = mean.min(), mean.max()
    return (mean - low) / (high - low).clamp(min=1e-12)
