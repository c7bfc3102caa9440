"""What the networks of a kind must offer. `trace`, the samplers and the asset ask nothing else of them."""

from collections.abc import Iterator
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

KindName = Literal["hashgrid", "mlp"]
CompositionName = Literal["max", "sum", "min-sdf", "split"]
HeadName = Literal["none", "semantic", "features"]


@runtime_checkable
class ForegroundNetwork(Protocol):
    """A signed distance, negative inside, and a colour; points in the unit frame, within the sphere."""

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """What is learnt."""
        ...

    def sdf(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Signed distance alone."""
        ...

    def geometry(
        self, points: Float[Tensor, "point 3"]
    ) -> tuple[Float[Tensor, "point"], Float[Tensor, "point 3"], Float[Tensor, "point feature"]]:
        """Signed distance, its gradient (losses may depend on it), features for the colour."""
        ...

    def colour(
        self,
        points: Float[Tensor, "point 3"],
        gradients: Float[Tensor, "point 3"],
        directions: Float[Tensor, "point 3"],
        features: Float[Tensor, "point feature"],
    ) -> Float[Tensor, "point 3"]:
        """sRGB in 0..1."""
        ...

    def start_from(self, directions: Float[Tensor, "direction 3"], supports: Float[Tensor, "direction"]) -> None:
        """Start from the convex body {x : u_i.x <= h_i}, where the kind can."""
        ...

    def start_from_plane(self, plane: Float[Tensor, "4"]) -> None:
        """Start as what lies below the supporting plane, where the kind can."""
        ...

    def open_levels(self, first: int, progress: float) -> None:
        """Let details in as training goes on, where the kind has levels of detail."""
        ...

    def inv_s(self, scheduled: float) -> float | Tensor:
        """The logistic's inverse scale: the scheduled one, or what the network has learnt."""
        ...


@runtime_checkable
class BackgroundNetwork(Protocol):
    """Density and colour everywhere; points in the unit frame."""

    feature_width: int

    def __call__(
        self, points: Float[Tensor, "ray sample 3"], directions: Float[Tensor, "ray 3"]
    ) -> tuple[Float[Tensor, "ray sample"], Float[Tensor, "ray sample 3"]]:
        """Density per unit length and sRGB colour of samples of rays with these unit directions."""
        ...

    def density_contracted(self, contracted: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Density at points that `encoding.contract` has mapped into the ball of radius 2."""
        ...

    def features(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point feature"]:
        """What a head of the baselines reads: it depends on the place alone."""
        ...

    def open_levels(self, first: int, progress: float) -> None:
        """As for the foreground."""
        ...
