"""Maquette: photos of one object in, a clean 3D model and a 6D pose estimator out."""

import os
from typing import TYPE_CHECKING

# How often GNU's OpenMP, which torch's wheels for Linux bring, looks whether the other threads are done before it
# gives the core away. Its own 300,000 looks take milliseconds: where another program wants the core, a network then
# takes ten times as long. It is read when torch is first imported; what a user has set stands.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from maquette.poses.api import Estimator as Estimator

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`from maquette import Estimator` brings torch with it; `import maquette` does not."""
    if name == "Estimator":
        from maquette.poses.api import Estimator

        return Estimator
    raise AttributeError(f"module 'maquette' has no attribute {name!r}")
