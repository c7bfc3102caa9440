"""A trained estimator: both networks, the surface they speak of, and how crops for it are cut."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maquette.data.checkpoints import load_tensors, save_tensors
from maquette.data.errors import InputError
from maquette.data.jsonio import read_record, write_json
from maquette.data.workspace import Workspace
from maquette.estimator.networks import CorrespondenceNet, KeyNet, NetworkShape, Queries
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


@dataclass(frozen=True)
class Estimator:
    """Networks and surface. `points`, `normals` (unit, outwards) and `mesh` are in obj; `keys[i]` is point i's.

    `crop_scale` is a crop's side over the longer side of its box.
    """

    network: CorrespondenceNet
    key_network: KeyNet
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
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.network(crops)

    @torch.inference_mode()
    def keys_of(self, points_obj: Float[Tensor, "point 3"]) -> Float[Tensor, "point 12"]:
        """Keys of any points of the surface."""
        return self.key_network((points_obj - self.centre) / self.radius)


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
    record: EstimatorRecord, network: CorrespondenceNet, key_network: KeyNet, mesh: Mesh, count: int = 12000
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
    folder: Path, record: EstimatorRecord, network: CorrespondenceNet, key_network: KeyNet, mesh: Mesh
) -> None:
    """Write estimator.json, networks.safetensors and mesh.safetensors."""
    weights = {f"network.{k}": v for k, v in network.state_dict().items()}
    weights |= {f"keys.{k}": v for k, v in key_network.state_dict().items()}
    save_tensors(folder / "networks.safetensors", weights)
    parts = {"vertices": mesh.vertices, "faces": mesh.faces}
    parts |= {"colours": mesh.colours} if mesh.colours is not None else {}
    if mesh.uv is not None and mesh.texture is not None:
        parts |= {"uv": mesh.uv, "texture": mesh.texture}
    save_tensors(folder / "mesh.safetensors", parts)
    write_json(folder / "estimator.json", record)


def load_estimator(source: Workspace | Path) -> Estimator:
    """The trained estimator of a workspace, or of a folder that holds one.

    Raises InputError where there is none, or where its files do not fit each other.
    """
    if isinstance(source, Workspace):
        folder = source.require("estimator", "estimator.json", "networks.safetensors", "mesh.safetensors")
    else:
        folder = source if (source / "estimator.json").exists() else source / "estimator"
    record = read_record(folder / "estimator.json", EstimatorRecord)
    network = CorrespondenceNet(record.shape.width)
    key_network = KeyNet(record.shape.key_width, record.shape.key_levels)
    weights, _ = load_tensors(folder / "networks.safetensors")
    try:
        for prefix, module in (("network.", network), ("keys.", key_network)):
            module.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise InputError(
            f"{folder / 'networks.safetensors'} does not fit {folder / 'estimator.json'} ({error}); "
            "train again with --overwrite"
        ) from None
    parts, _ = load_tensors(folder / "mesh.safetensors")
    mesh = Mesh(parts["vertices"], parts["faces"], parts.get("colours"), parts.get("uv"), parts.get("texture"))
    return build_estimator(record, network, key_network, mesh)
