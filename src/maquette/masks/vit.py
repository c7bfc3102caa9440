"""The vision transformers of DINO and DINOv2, as far as dense descriptors need them.

Keys of the last block and what [CLS] attends to there are all that is used, so the last block computes nothing
else: keys of all tokens, the query of one. Attention is never materialised; memory grows with the number of
tokens, not with its square. Names of parameters are those of the published state dicts.

Symbols: N tokens besides [CLS] on a grid of rows x columns, W width, H = W / 64 heads.
Source: Caron et al. 2021 (DINO), Oquab et al. 2023 (DINOv2), Amir et al. 2021 (keys as descriptors, stride).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

HEAD = 64


@dataclass(frozen=True)
class ViTShape:
    """Sizes of a network; `grid` is the side, in patches, of the positions it was trained with."""

    patch: int = 8
    width: int = 384
    depth: int = 12
    grid: int = 28
    hidden: int = 1536
    layer_scale: bool = False

    @property
    def heads(self) -> int:
        return self.width // HEAD


class VisionTransformer(nn.Module):
    """Pictures in (normalised, 1 x 3 x height x width), keys and [CLS] attention of the last block out."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + shape.grid**2, shape.width))
        self.patch_embed = Patches(shape)
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)

    def forward(
        self, pixels: Float[Tensor, "1 3 height width"], stride: int
    ) -> tuple[Float[Tensor, "row column channel"], Float[Tensor, "head row column"]]:
        """Keys (heads side by side, without [CLS]) and the attention of [CLS], whose sum over the cells and
        [CLS] itself is one. `stride` is that of the patch embedding: smaller than the patch, patches overlap.
        """
        tokens, rows, columns = self._tokens(pixels, stride)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        keys, attention = last.attn.keys_and_attention(last.norm1(tokens))
        heads = self.shape.heads
        return keys[0, 1:].unflatten(0, (rows, columns)), attention[0, :, 1:].reshape(heads, rows, columns)

    def _tokens(
        self, pixels: Float[Tensor, "1 3 height width"], stride: int
    ) -> tuple[Float[Tensor, "1 token channel"], int, int]:
        patches = self.patch_embed(pixels, stride)
        rows, columns = patches.shape[-2:]
        tokens = torch.cat([self.cls_token, patches.flatten(2).transpose(1, 2)], 1)
        return tokens + interpolated_positions(self.pos_embed, rows, columns), rows, columns


class Patches(nn.Module):
    """The embedding of patches that may overlap."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, shape.width, shape.patch, shape.patch)

    def forward(
        self, pixels: Float[Tensor, "1 3 height width"], stride: int
    ) -> Float[Tensor, "1 channel row column"]:
        return F.conv2d(pixels, self.proj.weight, self.proj.bias, stride=stride)


class Block(nn.Module):
    """Self-attention and a two-layer network, each on normalised tokens and added to them."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-6)
        self.attn = Attention(shape.width)
        self.ls1 = Scale(shape.width) if shape.layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-6)
        self.mlp = TwoLayers(shape.width, shape.hidden)
        self.ls2 = Scale(shape.width) if shape.layer_scale else nn.Identity()

    def forward(self, x: Float[Tensor, "1 token channel"]) -> Float[Tensor, "1 token channel"]:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Tokens mix by softmax(q k / 8) v, head by head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "1 token channel"]) -> Float[Tensor, "1 token channel"]:
        q, k, v = (_by_head(part) for part in self.qkv(x).chunk(3, -1))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def keys_and_attention(
        self, x: Float[Tensor, "1 token channel"]
    ) -> tuple[Float[Tensor, "1 token channel"], Float[Tensor, "1 head token"]]:
        """Keys of all tokens; softmax(q k / 8) for the query of token 0 alone."""
        width = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        keys = F.linear(x, weight[width : 2 * width], bias[width : 2 * width])
        query = F.linear(x[:, :1], weight[:width], bias[:width])
        scores = (_by_head(query) * _by_head(keys)).sum(-1) / HEAD**0.5
        return keys, scores.softmax(-1)


class TwoLayers(nn.Module):
    """A hidden layer with GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "1 token channel"]) -> Float[Tensor, "1 token channel"]:
        return self.fc2(F.gelu(self.fc1(x)))


class Scale(nn.Module):
    """DINOv2's learnt factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "1 token channel"]) -> Float[Tensor, "1 token channel"]:
        return x * self.gamma


def interpolated_positions(
    pos_embed: Float[Tensor, "1 positions channel"], rows: int, columns: int, offset: float = 0.1
) -> Float[Tensor, "1 token channel"]:
    """Learnt positions resampled (bicubic, pixel areas match) to another grid; [CLS] keeps its own.

    `offset` is the published networks' guard against rounding. It also enters the scale, so cell r lies at
    (r + 0.5) g / (rows + offset) - 0.5 of the learnt grid of side g.
    """
    side = round((pos_embed.shape[1] - 1) ** 0.5)
    if rows == columns == side:
        return pos_embed
    grid = pos_embed[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = [(rows + offset) / side, (columns + offset) / side]
    resampled = F.interpolate(
        grid, scale_factor=scale, mode="bicubic", align_corners=False, recompute_scale_factor=False
    )
    return torch.cat([pos_embed[:, :1], resampled.flatten(2).transpose(1, 2)], 1)


def _by_head(x: Float[Tensor, "1 token channel"]) -> Float[Tensor, "1 head token 64"]:
    return x.unflatten(-1, (-1, HEAD)).transpose(1, 2)
