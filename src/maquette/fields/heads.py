"""What two published baselines add to a radiance field: a value at every place that is rendered along with colour.

`semantic` (Zhi et al. 2021, SemanticNeRF): two logits of the place, learnt from the coarse masks by cross-entropy;
the object is where its logit is the greater. `features` (Kobayashi et al. 2022, DFF): a feature of the place,
learnt from a teacher's feature images; the object is where it resembles the mean feature in the first photo's mask.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from maquette.fields.interface import HeadName

HIDDEN = 64
LEAST_COSINE = 0.4


class Head(nn.Module):
    """Values at places, from the background's features there."""

    query: Tensor

    def __init__(self, name: HeadName, inputs: int, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.name = name
        self.hidden, self.out = nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, channels)
        for layer in (self.hidden, self.out):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) / layer.in_features**0.5
            layer.bias.data.zero_()
        self.register_buffer("query", torch.zeros(channels))

    def forward(self, features: Float[Tensor, "point feature"]) -> Float[Tensor, "point channel"]:
        return self.out(torch.relu(self.hidden(features)))

    def own(self, values: Float[Tensor, "*batch channel"]) -> Bool[Tensor, "*batch"]:
        """Where the object is."""
        if self.name == "semantic":
            return values[..., 1] > values[..., 0]
        return F.cosine_similarity(values, self.query, dim=-1) >= LEAST_COSINE

    def render(
        self, weights: Float[Tensor, "ray sample"], values: Float[Tensor, "ray sample channel"]
    ) -> Float[Tensor, "ray channel"]:
        """A ray's value. Features do not move the density (as published), labels do."""
        if self.name == "features":
            weights = weights.detach()
        return (weights[..., None] * values).sum(1)

    def loss(
        self,
        rendered: Float[Tensor, "ray channel"],
        mask: Bool[Tensor, "ray"],
        teacher: Float[Tensor, "ray feature"],
    ) -> Float[Tensor, ""]:
        """Cross-entropy with the coarse mask, or the teacher's feature's squared difference, a channel."""
        if self.name == "semantic":
            return F.cross_entropy(rendered, mask.long())
        return (rendered - teacher).square().mean()
