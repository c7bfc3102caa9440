"""What a workspace has to find its object with: a trained network, local features, or both."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from maquette.data.errors import InputError
from maquette.data.jsonio import read_json, read_record
from maquette.data.progress import say
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.estimator.meshes import check_in_place
from maquette.estimator.model import Estimator, load_estimator, weights_file
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
    features = sources.features
    landmarks = features.landmarks if features else None
    record = workspace.asset / "asset.json"
    ours = record.exists() and not (sources.network and learns_foreign_mesh(workspace))
    asset = read_record(record, Asset) if ours else None
    same = asset.symmetries_discrete if asset else ()
    axes = asset.symmetries_continuous if asset else ()
    if sources.network:
        estimator = load_estimator(workspace).to(where)
        estimator = estimator if mesh is None else _on_mesh(estimator, mesh)
        if asset is None:
            own = estimator.symmetries()
            same, axes = own.discrete, own.continuous
        keys = estimator.keys.cpu()
        surface = Surface(estimator.points, estimator.normals, keys, estimator.diameter, where)
        renderer = MeshRenderer(estimator.mesh)
        return Finder(
            renderer,
            estimator.diameter,
            estimator.metric,
            estimator,
            surface,
            landmarks,
            settings,
            search,
            known_confidence(workspace),
            same,
            axes,
        )
    assert features is not None
    shown = features.hull if features.hull is not None else load_mesh(workspace.asset / "mesh.ply")
    diameter = features.landmarks.diameter
    known = Finder(MeshRenderer(shown), diameter, features.metric, None, None, landmarks, settings, search)
    return replace(known, symmetries=same, axes=axes)


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
