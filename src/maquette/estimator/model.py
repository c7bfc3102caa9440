"""A trained estimator: both networks, the surface they speak of, and how crops for it are cut."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from maquette.asset.symmetries import symmetries_of
from maquette.data.checkpoints import load_tensors, save_tensors
from maquette.data.errors import InputError
from maquette.data.jsonio import read_record, write_json
from maquette.data.workspace import Workspace
from maquette.estimator.keys import KeyNet, Siren
from maquette.estimator.networks import OUTPUTS, CorrespondenceNet, NetworkShape, Queries, new_keys
from maquette.geometry.symmetry import Symmetries
from maquette.kernels.device import has_bfloat16
from maquette.render.mesh import Mesh


@dataclass(frozen=True)
class EstimatorRecord:
    """estimator.json. Lengths in metres where `metric`, else in multiples of the object sphere's radius."""

    shape: NetworkShape
    crop_size: int
    crop_scale: float
    metric: bool
    diameter: float
    centre: tuple[float, float, float]
    radius: float
    bfloat16: bool
    shared: int | None = None
    """Which object of a network of several this is: its weights are in the folder above, and these its rows."""


@dataclass(frozen=True)
class Estimator:
    """Networks and surface. `points`, `normals` (unit, outwards) and `mesh` are in obj; `keys[i]` is point i's.

    `crop_scale` is a crop's side over the longer side of its box. `bfloat16`: it was trained so, and is used so
    where the device has instructions for it. Networks and keys lie on one device (`to`), the surface in the
    computer's memory.
    """

    network: CorrespondenceNet
    key_network: KeyNet | Siren
    mesh: Mesh
    points: Float[Tensor, "point 3"]
    normals: Float[Tensor, "point 3"]
    keys: Float[Tensor, "point 12"]
    diameter: float
    crop_size: int
    output_size: int
    crop_scale: float
    metric: bool
    centre: Float[Tensor, "3"]
    radius: float
    bfloat16: bool = False

    @torch.inference_mode()
    def encode(self, crops: Float[Tensor, "crop 3 height width"]) -> Queries:
        """What the network says of crops (sRGB, 0..1)."""
        device = self.keys.device
        crops = crops.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16 and has_bfloat16(device)):
            return self.network(crops)

    @torch.inference_mode()
    def keys_of(self, points_obj: Float[Tensor, "point 3"]) -> Float[Tensor, "point 12"]:
        """Keys of any points of the surface."""
        return self.key_network((points_obj.to(self.centre.device) - self.centre) / self.radius)

    def to(self, device: torch.device) -> "Estimator":
        """The same estimator, its networks used on a device."""
        if device == self.keys.device:
            return self
        network, key_network = deepcopy(self.network).to(device), deepcopy(self.key_network).to(device)
        moved = {"keys": self.keys.to(device), "centre": self.centre.to(device)}
        return replace(self, network=network, key_network=key_network, **moved)

    def symmetries(self) -> Symmetries:
        """Those of the mesh, found anew in a second; an asset's are in its asset.json."""
        return symmetries_of(self.mesh)

    def on(self, mesh: Mesh) -> "Estimator":
        """The same networks, speaking of another mesh in the frame and unit of the one they learnt."""
        points, normals = sample_surface(mesh, len(self.points), np.random.default_rng(0))
        return replace(self, mesh=mesh, points=points, normals=normals, keys=self.keys_of(points).clone())


def sample_surface(
    mesh: Mesh, count: int, rng: np.random.Generator
) -> tuple[Float[Tensor, "count 3"], Float[Tensor, "count 3"]]:
    """Points spread evenly by area, and the unit normals of their faces."""
    corners = mesh.vertices[mesh.faces.long()].double()
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    edges = np.cumsum(across.norm(dim=-1).numpy())
    # One draw per equal share of the area: evener than independent draws.
    at = (np.arange(count) + rng.random(count)) / count * edges[-1]
    face = torch.as_tensor(np.minimum(np.searchsorted(edges, at, side="right"), len(edges) - 1))
    a, b = rng.random(count), rng.random(count)
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    weights = torch.as_tensor(np.stack([1 - a - b, a, b], -1))
    points = (corners[face] * weights[..., None]).sum(1)
    return points.float(), torch.nn.functional.normalize(across[face], dim=-1).float()


def build_estimator(
    record: EstimatorRecord,
    network: CorrespondenceNet,
    key_network: KeyNet | Siren,
    mesh: Mesh,
    count: int = 12000,
) -> Estimator:
    """An estimator ready for use: networks in inference mode, surface sampled, keys computed."""
    points, normals = sample_surface(mesh, count, np.random.default_rng(0))
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    key_network = key_network.eval().requires_grad_(False)
    centre = torch.tensor(record.centre)
    with torch.inference_mode():
        keys = key_network((points - centre) / record.radius)
    return Estimator(
        network,
        key_network,
        mesh,
        points,
        normals,
        keys.clone(),
        record.diameter,
        record.crop_size,
        record.crop_size // 2,
        record.crop_scale,
        record.metric,
        centre,
        record.radius,
        record.bfloat16,
    )


def save_estimator(
    folder: Path, record: EstimatorRecord, network: CorrespondenceNet, key_network: KeyNet | Siren, mesh: Mesh
) -> None:
    """Write estimator.json, networks.safetensors and mesh.safetensors."""
    save_networks(folder, network, [key_network])
    save_object(folder, record, mesh)


def save_object(folder: Path, record: EstimatorRecord, mesh: Mesh) -> None:
    """Write estimator.json and mesh.safetensors: everything but the weights."""
    parts = {"vertices": mesh.vertices, "faces": mesh.faces}
    parts |= {"colours": mesh.colours} if mesh.colours is not None else {}
    if mesh.uv is not None and mesh.texture is not None:
        parts |= {"uv": mesh.uv, "texture": mesh.texture}
    save_tensors(folder / "mesh.safetensors", parts)
    write_json(folder / "estimator.json", record)


def save_networks(folder: Path, network: CorrespondenceNet, keys: Sequence[nn.Module]) -> None:
    """Write networks.safetensors whole: whoever reads it meanwhile reads the last one."""
    weights = {f"network.{k}": v for k, v in network.state_dict().items()}
    for idx, one in enumerate(keys):
        prefix = "keys." if len(keys) == 1 else f"keys.{idx}."
        weights |= {f"{prefix}{k}": v for k, v in one.state_dict().items()}
    save_tensors(folder / "networks.safetensors", weights)


def own_weights(weights: dict[str, Tensor], shared: int | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One object's query network and key network, of the tensors of a file."""
    network = {k.removeprefix("network."): v for k, v in weights.items() if k.startswith("network.")}
    prefix = "keys." if shared is None else f"keys.{shared}."
    if shared is not None:
        rows = slice(shared * OUTPUTS, (shared + 1) * OUTPUTS)
        network |= {name: network[name][rows] for name in ("head.weight", "head.bias")}
    return network, {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def weights_file(folder: Path) -> Path:
    """Where the weights of an object's estimator lie: a network of several objects keeps them one folder up."""
    own = folder / "networks.safetensors"
    return own if own.exists() else folder.parent / own.name


def load_estimator(source: Workspace | Path) -> Estimator:
    """The trained estimator of a workspace, or of a folder that holds one.

    Raises InputError where there is none, or where its files do not fit each other.
    """
    if isinstance(source, Workspace):
        folder = source.require("estimator", "estimator.json", "mesh.safetensors")
    else:
        folder = source if (source / "estimator.json").exists() else source / "estimator"
    record = read_record(folder / "estimator.json", EstimatorRecord)
    network = CorrespondenceNet(record.shape.width, record.shape.decoder)
    key_network = new_keys(record.shape)
    path = weights_file(folder)
    weights, _ = load_tensors(path)
    try:
        of_network, of_keys = own_weights(weights, record.shared)
        network.load_state_dict(of_network)
        key_network.load_state_dict(of_keys)
    except (RuntimeError, KeyError) as error:
        raise InputError(
            f"{path} does not fit {folder / 'estimator.json'} ({error}); train again with --overwrite"
        ) from None
    parts, _ = load_tensors(folder / "mesh.safetensors")
    mesh = Mesh(parts["vertices"], parts["faces"], parts.get("colours"), parts.get("uv"), parts.get("texture"))
    return build_estimator(record, network, key_network, mesh)
