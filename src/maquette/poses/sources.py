"""What a workspace has to find its object with: a trained network, local features, or both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from maquette.data.errors import InputError
from maquette.data.jsonio import read_json, read_record
from maquette.data.progress import say
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.estimator.meshes import check_in_place
from maquette.estimator.model import Estimator, load_estimator, weights_file
from maquette.geometry.symmetry import Symmetries
from maquette.geometry.transforms import Matrix4
from maquette.kernels.device import Device, device_named
from maquette.matching.distribution import Surface
from maquette.matching.settings import EstimateSettings
from maquette.poses.calibrate import known_confidence
from maquette.poses.find import Finder, SearchSettings
from maquette.poses.learn import LearntFeatures, learn_features
from maquette.render.mesh import MeshRenderer, load_mesh

Switch = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class Sources:
    """Which of the two are used, and the landmarks where those are."""

    network: bool
    features: LearntFeatures | None

    def files(self, workspace: Workspace) -> dict[str, Path]:
        """What of a workspace poses rest on, for `begin_stage`."""
        found = {"features": workspace.features} if self.features is not None else {}
        if not self.network:
            return found
        found |= {"estimator": workspace.estimator}
        weights, fitted = weights_file(workspace.estimator), workspace.confidence / "confidence.json"
        # A network of several objects keeps its weights elsewhere.
        found |= {} if weights.parent == workspace.estimator else {"networks": weights}
        return found | ({"confidence": fitted} if fitted.exists() else {})


def choose_sources(workspace: Workspace, network: Switch, local: Switch) -> Sources:
    """What is there and asked for; landmarks are made where they are missing.

    Raises InputError where what is asked for is not there, or where nothing is.
    """
    trained = (workspace.estimator / "estimator.json").exists()
    foreign = learns_foreign_mesh(workspace)
    if network == "on":
        workspace.require("estimator", "estimator.json")
    if local == "on" and foreign and network != "off":
        raise InputError(
            f"the estimator of {workspace.root} learnt somebody else's mesh, and local features live in this "
            "capture's own frame: use one of them, --local off or --network off"
        )
    use_network = trained and network != "off"
    seen = (workspace.cameras / "cameras.json").exists() and (
        (workspace.asset / "asset.json").exists() or (workspace.masks / "masks.json").exists()
    )
    features = None
    if local == "on" or (local == "auto" and seen and not (foreign and use_network)):
        features = _features(workspace, must=local == "on" or not use_network)
    if not use_network and features is None:
        raise InputError(
            f"nothing in {workspace.root} can find the object: this needs the stage `estimator` first "
            f"(`maquette estimator {workspace.root}`), or for poses from local features alone cameras and masks "
            f"(`maquette masks {workspace.root}`); and not both --network off and --local off"
        )
    if not use_network and network == "auto":
        unfinished = (workspace.unfinished_estimator / "networks.safetensors").exists()
        hint = "; its training is unfinished (use it so far: --unfinished)" if unfinished else ""
        say(f"poses: {workspace.root} has no trained network, so by local features alone{hint}")
    return Sources(use_network, features)


def load_finder(
    workspace: Workspace,
    sources: Sources,
    settings: EstimateSettings,
    search: SearchSettings,
    mesh: Path | None = None,
    device: Device = "auto",
) -> Finder:
    """The object with everything that is used to find it, ready for any number of photos.

    `mesh` is one to estimate with instead of the network's own. Raises InputError where it lies elsewhere, and
    where a `device` is asked for that is not there.
    """
    where = device_named(device, "--device")
    if mesh is not None and not sources.network:
        raise InputError(f"--mesh {mesh} stands in for the mesh that a network learnt; no network is used")
    if sources.network:
        return _by_network(workspace, sources.features, settings, search, mesh, where)
    assert sources.features is not None
    return _by_features_alone(workspace, sources.features, settings, search)


def _by_network(
    workspace: Workspace,
    features: LearntFeatures | None,
    settings: EstimateSettings,
    search: SearchSettings,
    mesh: Path | None,
    device: torch.device,
) -> Finder:
    """With the trained network on a device, and with landmarks where there are any."""
    estimator = load_estimator(workspace).to(device)
    estimator = estimator if mesh is None else _on_mesh(estimator, mesh)
    same = None if learns_foreign_mesh(workspace) else _asset_symmetries(workspace)
    same = estimator.symmetries() if same is None else same
    return Finder(
        renderer=MeshRenderer(estimator.mesh),
        diameter=estimator.diameter,
        metric=estimator.metric,
        estimator=estimator,
        surface=Surface(estimator.points, estimator.normals, estimator.keys.cpu(), estimator.diameter, device),
        landmarks=features.landmarks if features else None,
        settings=settings,
        search=search,
        calibration=known_confidence(workspace),
        symmetries=same.discrete,
        axes=same.continuous,
    )


def _by_features_alone(
    workspace: Workspace, features: LearntFeatures, settings: EstimateSettings, search: SearchSettings
) -> Finder:
    """Without a network: the landmarks, and the asset's mesh or, where there is none, the hull of the masks."""
    same = _asset_symmetries(workspace) or Symmetries()
    return Finder(
        renderer=MeshRenderer(features.hull or load_mesh(workspace.asset / "mesh.ply")),
        diameter=features.landmarks.diameter,
        metric=features.metric,
        landmarks=features.landmarks,
        settings=settings,
        search=search,
        symmetries=same.discrete,
        axes=same.continuous,
    )


def _asset_symmetries(workspace: Workspace) -> Symmetries | None:
    """Those that the asset's record names; None where there is no asset."""
    record = workspace.asset / "asset.json"
    if not record.exists():
        return None
    asset = read_record(record, Asset)
    return Symmetries(asset.symmetries_discrete, asset.symmetries_continuous)


def _on_mesh(estimator: Estimator, path: Path) -> Estimator:
    mesh = load_mesh(path)
    used = mesh.vertices[mesh.faces.long().unique()]
    far = (used - estimator.centre.cpu()).norm(dim=-1).max() / estimator.radius
    if not 0.5 < far < 2:
        raise InputError(
            f"--mesh {path} reaches {far:.3g} times as far from the object's centre as the mesh that the network "
            "learnt: bring it to that one's frame and unit first"
        )
    check_in_place(mesh, estimator.mesh, f"--mesh {path}")
    return estimator.on(mesh)


def object_frame(workspace: Workspace, sources: Sources) -> Matrix4 | None:
    """obj_from_world of the poses; None where the network learnt somebody else's mesh, whose frame is its own."""
    if sources.network and learns_foreign_mesh(workspace):
        return None
    if sources.features is not None:
        return sources.features.obj_from_world
    record = workspace.asset / "asset.json"
    return read_record(record, Asset).obj_from_world if record.exists() else None


def learns_foreign_mesh(workspace: Workspace) -> bool:
    """Whether the estimator was trained on somebody else's mesh."""
    config = workspace.estimator / "config.json"
    content = read_json(config) if config.exists() else {}
    return isinstance(content, dict) and content.get("mesh") is not None


def _features(workspace: Workspace, must: bool) -> LearntFeatures | None:
    try:
        return learn_features(workspace)
    except InputError as error:
        if must:
            raise
        say(f"poses: without local features ({error})")
        return None
