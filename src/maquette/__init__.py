"""Maquette: photos of one object in, a clean 3D model and a 6D pose estimator out."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maquette.poses.api import Estimator as Estimator

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`from maquette import Estimator` brings torch with it; `import maquette` does not."""
    if name == "Estimator":
        from maquette.poses.api import Estimator

        return Estimator
    raise AttributeError(f"module 'maquette' has no attribute {name!r}")
