"""The trunk: a query network without its last layer's rows, which learnt many objects that nobody has.

What every object's network learns first - edges, shading, what belongs together before any background - it knows
already. `benchmarks/trunk.py` made it, from objects and pictures of its own alone.
"""

from pathlib import Path

from maquette.data.checkpoints import load_tensors, save_tensors
from maquette.data.errors import InputError
from maquette.estimator.networks import MASKS, OUTPUTS, CorrespondenceNet

SHIPPED = Path(__file__).with_name("trunk.safetensors")
WIDTH = 32
HEAD = ("head.weight", "head.bias")


def fits_trunk(network: CorrespondenceNet) -> bool:
    """Whether a network is as wide as the trunk that is shipped, and decodes as it does."""
    return network.stem.out_channels == WIDTH and not network.published


def load_trunk(network: CorrespondenceNet, objects: int, path: Path = SHIPPED) -> None:
    """Give a network the trunk's weights, and each of its objects the trunk's way of telling masks.

    Raises InputError for a network of another shape.
    """
    if not fits_trunk(network):
        raise InputError(
            f"the estimator's --start trunk: the trunk has {WIDTH} channels in its first level and the narrow "
            f"decoder; use --shape.width {WIDTH} --shape.decoder narrow, or --start random"
        )
    trunk, _ = load_tensors(path)
    state = network.state_dict()
    state |= {name: value.float() for name, value in trunk.items() if name not in HEAD}
    for name in HEAD:
        for idx in range(objects):
            state[name][idx * OUTPUTS : idx * OUTPUTS + MASKS] = trunk[name]
    network.load_state_dict(state)


def write_trunk(folder: Path, path: Path) -> None:
    """Of a trained estimator's network what does not belong to its objects, and the mean of how they tell masks;
    layers in half precision.
    """
    weights, _ = load_tensors(folder / "networks.safetensors")
    trunk = {name.removeprefix("network."): value for name, value in weights.items() if name.startswith("network.")}
    for name in HEAD:
        trunk[name] = trunk[name].unflatten(0, (-1, OUTPUTS))[:, :MASKS].mean(0)
    save_tensors(path, {name: value.half() if value.ndim == 4 else value for name, value in trunk.items()})
