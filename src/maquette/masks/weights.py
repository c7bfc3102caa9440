"""Weights of vision transformers, brought into one layout.

Two layouts are read: the published state dicts (`blocks.0.attn.qkv.weight`) and that of Hugging Face's model
classes (`encoder.layer.0.attention.attention.query.weight`). Sizes are read off the tensors.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from maquette.data.errors import InputError
from maquette.data.weights import find_weights, read_tensors
from maquette.masks.vit import HEAD, VisionTransformer, ViTShape

_RENAMED = (
    (r"^(teacher|module|backbone|vit|dinov2)\.", ""),
    (r"^embeddings\.(cls_token|mask_token)", r"\1"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.layer_scale([12])\.lambda1", r".ls\1.gamma"),
)
_UNUSED = re.compile(r"^(mask_token$|pooler\.|head\.|classifier\.)")


def load_vit(weights: str | None, hub_name: str, options: str = "--masks") -> VisionTransformer:
    """The network with its weights, ready for pictures.

    `weights` is a file, a folder, or another name on the hub; None means `hub_name`. Raises InputError where
    there are none to be had, or where they are not such a network's.
    """
    otherwise = f"do without weights: {options}.features appearance"
    path = find_weights(weights or hub_name, f"{options}.weights", hub_name, otherwise)
    state = in_published_layout(read_tensors(path))
    model = VisionTransformer(shape_of(state, path))
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if wanted != found:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise InputError(
            f"{path} is not a plain ViT of DINO or DINOv2: {len(wrong)} tensors are missing, unknown or of another "
            f"shape ({', '.join(wrong[:4])}{', ...' if len(wrong) > 4 else ''}). Use those of {hub_name}."
        )
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def in_published_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published names, whichever layout it was; query, key and value as one matrix; heads dropped."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if not _UNUSED.match(name):
            renamed[name] = tensor.float()
    for name in [name for name in renamed if ".attn.query." in name]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in renamed for part in parts):
            renamed[name.replace(".query.", ".qkv.")] = torch.cat([renamed.pop(part) for part in parts])
    return renamed


def shape_of(state: dict[str, Tensor], path: Path) -> ViTShape:
    """Sizes of the network these tensors belong to. Raises InputError where they are no ViT's."""
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight")
    if missing := [name for name in needed if name not in state]:
        raise InputError(f"{path} is no vision transformer's: it has no {missing[0]}.")
    hidden, width = state["blocks.0.mlp.fc1.weight"].shape
    depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
    positions = state["pos_embed"].shape[1] - 1
    if width % HEAD or round(positions**0.5) ** 2 != positions:
        raise InputError(f"{path} is not a ViT of DINO or DINOv2: width {width}, {positions} positions.")
    patch = state["patch_embed.proj.weight"].shape[-1]
    return ViTShape(patch, width, depth, round(positions**0.5), hidden, "blocks.0.ls1.gamma" in state)
