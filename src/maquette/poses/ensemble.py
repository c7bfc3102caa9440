"""What the network says of a crop, alone or over quarter turns of it."""

import torch
from jaxtyping import Float
from torch import Tensor

from maquette.estimator.model import Estimator
from maquette.estimator.networks import Queries


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
