"""The query network for other programs: `query.onnx`, and `keys.npz` with the surface it speaks of.

The graph takes crops as they are (sRGB, 0..1: the normalisation is inside) and gives what `Queries` holds, in
single precision. Number and sides of the crops are free; sides must be multiples of 32. A pixel u of the output
corresponds to surface point j with a probability proportional to exp(query_u . key_j).
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.data.errors import InputError
from maquette.estimator.model import Estimator
from maquette.estimator.networks import CROP_MULTIPLE, CorrespondenceNet

INPUT, OUTPUTS = "crops", ("mask_logit", "visible_logit", "query")
# Opset 18 is what torch's exporter writes best, and what runtimes of three years ago read.
OPSET = 18


class _AsTuple(nn.Module):
    """The network with its outputs in a tuple, in the order of OUTPUTS."""

    def __init__(self, network: CorrespondenceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Float[Tensor, "crop 3 height width"]) -> tuple[Tensor, Tensor, Tensor]:
        queries = self.network(crops)
        return queries.mask_logit, queries.visible_logit, queries.query


def export_onnx(estimator: Estimator, folder: Path) -> None:
    """Write query.onnx and keys.npz. Raises InputError where the extra `onnx` is not installed."""
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"ONNX files need the package {' and '.join(missing)}, which is not installed: "
            "pip install 'maquette[onnx]'"
        )
    import onnx

    size = estimator.crop_size
    batch = torch.export.Dim("crop", min=1)
    sides = [
        CROP_MULTIPLE * torch.export.Dim(f"{name}_over_{CROP_MULTIPLE}", min=1) for name in ("height", "width")
    ]
    # Two of them, and not square: what is traced at one is taken for a constant.
    example = torch.rand(2, 3, size, size + CROP_MULTIPLE)
    device = next(estimator.network.parameters()).device
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            _AsTuple(estimator.network).eval(),
            (example.to(device),),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={"crops": {0: batch, 2: sides[0], 3: sides[1]}},
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {key: str(value) for key, value in described(estimator).items()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, str(folder / "query.onnx"))
    write_keys(estimator, folder / "keys.npz")


def described(estimator: Estimator) -> dict[str, object]:
    """What a program must know to use the graph; every value stands in its metadata as text."""
    return {
        "crop_size": estimator.crop_size,
        "crop_scale": estimator.crop_scale,
        "multiple": CROP_MULTIPLE,
        "output_stride": 2,
        "input": "crops: sRGB, 0..1, channels first; the normalisation is part of the graph. A crop is a square "
        "around the object's box, crop_scale times its longer side, resampled to crop_size",
        "mask_logit": "log odds that a pixel lies on the object, hidden parts included",
        "visible_logit": "log odds that a pixel shows the object",
        "query": "a pixel shows point j of keys.npz with a probability proportional to exp(query . keys[j])",
        "diameter": estimator.diameter,
        "unit": "m" if estimator.metric else "sphere radius",
    }


def write_keys(estimator: Estimator, path: Path) -> None:
    """Points and outward unit normals of the surface (obj), a key for each, and the lengths' unit."""
    arrays = {name: getattr(estimator, name).cpu().numpy() for name in ("points", "normals", "keys")}
    unit = "m" if estimator.metric else "sphere radius"
    np.savez(
        path,
        points_obj=arrays["points"],
        normals_obj=arrays["normals"],
        keys=arrays["keys"],
        diameter=np.float64(estimator.diameter),
        unit=np.array(unit),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on versions and operators, which nobody who exports can act on."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
