"""The objects an estimator learns: one, the workspace's own or somebody's mesh, or several workspaces' together."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maquette.data.captures import load_capture
from maquette.data.errors import InputError
from maquette.data.jsonio import read_record, write_json
from maquette.data.records import Asset
from maquette.data.workspace import Workspace
from maquette.estimator.meshes import Unit, read_mesh
from maquette.estimator.sources import SourceConfig, source_inputs, with_camera
from maquette.estimator.viewpoints import ViewRange, widened
from maquette.geometry.transforms import apply, centre_of
from maquette.render.mesh import Mesh, load_mesh


@dataclass(frozen=True)
class Subject:
    """One object to learn. `name` is empty where it is the only one; `inputs` are the files it was read from.

    `workspace` has its capture, and `asset` is the record of `mesh` where that is the capture's own; somebody
    else's mesh is in metres.
    """

    name: str
    workspace: Workspace
    asset: Asset | None
    mesh: Mesh
    views: ViewRange
    inputs: Mapping[str, Path]

    @property
    def own_asset(self) -> bool:
        """Whether the mesh is that of its capture."""
        return self.asset is not None

    @property
    def metric(self) -> bool:
        return self.asset is None or self.asset.metric

    def folder(self, estimator: Path) -> Path:
        """Where its part of an estimator's folder lies."""
        return estimator / self.name if self.name else estimator


@dataclass(frozen=True)
class SharedObject:
    """An object of a network of several, and the workspace it came from (as seen from the network's workspace)."""

    name: str
    workspace: str


@dataclass(frozen=True)
class SharedObjects:
    """objects.json in the estimator of several objects, in the order of the network's rows."""

    objects: tuple[SharedObject, ...]


def read_subjects(
    workspace: Workspace,
    objects: Sequence[Path],
    mesh: Path | None,
    unit: Unit,
    views: ViewRange,
    sources: SourceConfig,
) -> list[Subject]:
    """What is to be learnt. Raises InputError where it is missing, or where two objects have one name."""
    views = with_camera(views, sources)
    if not objects:
        if mesh is None:
            return [_from_asset(workspace, "", views, sources)]
        inputs = source_inputs(workspace, sources, False) | {"mesh": mesh}
        views = _with_photo(workspace, views)
        return [Subject("", workspace, None, read_mesh(mesh, unit), views, inputs)]
    if mesh is not None:
        raise InputError("the estimator's --mesh is for one object; --objects takes workspaces that have an asset")
    names = [folder.resolve().name for folder in objects]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two of the estimator's --objects are called {twice!r}; rename one of the folders")
    return [
        _from_asset(Workspace(folder), name, views, sources) for folder, name in zip(objects, names, strict=True)
    ]


def write_shared_objects(folder: Path, workspace: Workspace, objects: Sequence[Path]) -> None:
    """objects.json, where there are several."""
    if objects:
        named = [
            SharedObject(one.resolve().name, os.path.relpath(one.resolve(), workspace.root.resolve()))
            for one in objects
        ]
        write_json(folder / "objects.json", SharedObjects(tuple(named)))


def shared_objects(workspace: Workspace) -> tuple[SharedObject, ...]:
    """The objects of a workspace whose network knows several; none where it is an ordinary one."""
    record = workspace.estimator / "objects.json"
    return read_record(record, SharedObjects).objects if record.exists() else ()


def with_network(workspace: Workspace, shared: Path | None = None, unfinished: bool = False) -> Workspace:
    """The workspace with another network than its complete one.

    `shared`: the workspace of a network that knows this object among others. `unfinished`: take the weights that
    training has averaged so far. Raises InputError where there are none, or where this object is not among them.
    """
    home = Workspace(shared) if shared is not None else workspace
    folder = home.unfinished_estimator if unfinished else home.estimator
    if unfinished and not (folder / "networks.safetensors").exists():
        raise InputError(
            f"there is nothing to use in {folder} yet: training leaves its first weights there after --check-steps "
            "steps, and none once it is complete (then leave --unfinished away)"
        )
    objects = shared_objects(Workspace(home.root, folder))
    if shared is None:
        if objects:
            names = ", ".join(one.name for one in objects)
            raise InputError(
                f"the network of {workspace.root} knows several objects ({names}); name the workspace of one and "
                f"add --estimator {workspace.root}"
            )
        return Workspace(workspace.root, folder) if unfinished else workspace
    own = workspace.root.resolve().name
    if own not in [one.name for one in objects]:
        known = ", ".join(one.name for one in objects) or "no several objects"
        raise InputError(f"--estimator {shared} knows {known}, and not {own!r}")
    return Workspace(workspace.root, folder / own)


def _from_asset(workspace: Workspace, name: str, views: ViewRange, sources: SourceConfig) -> Subject:
    folder = workspace.require("asset", "asset.json", "mesh.ply")
    asset = read_record(folder / "asset.json", Asset)
    inputs = {"asset_record": folder / "asset.json", "asset_mesh": folder / "mesh.ply"}
    inputs |= source_inputs(workspace, sources, True)
    if name:
        inputs = {f"{name}_{key}": path for key, path in inputs.items()}
    views = _as_captured(workspace, asset, _with_photo(workspace, views))
    return Subject(name, workspace, asset, load_mesh(folder / "mesh.ply"), views, inputs)


def _with_photo(workspace: Workspace, views: ViewRange) -> ViewRange:
    """The views with the capture's first camera, where shares are of a photo that nothing else tells."""
    if views.share is None or views.photo is not None:
        return views
    if not (workspace.cameras / "cameras.json").exists():
        raise InputError(
            "the estimator's --views.share is of a photo: say of which, by --sources.camera or --views.photo; "
            "--views.share None goes by --views.distance"
        )
    camera = load_capture(workspace).learnt[0].camera
    return replace(views, photo=(camera.width, camera.height, (camera.fx + camera.fy) / 2))


def _as_captured(workspace: Workspace, asset: Asset, views: ViewRange) -> ViewRange:
    """The views asked for, widened by where the capture's own cameras stood."""
    if not (workspace.cameras / "cameras.json").exists():
        return views
    learnt = load_capture(workspace).learnt
    eyes_obj = np.array([apply(asset.obj_from_world, centre_of(view.cam_from_world)) for view in learnt])
    return widened(views, eyes_obj, asset.diameter)
