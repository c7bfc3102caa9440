"""A setting: the object on a table among clutter, lit, ready for photos."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from maquette.geometry.camera import Camera
from maquette.geometry.transforms import Matrix4
from maquette.kernels.raycast import RayCaster
from maquette.kernels.shade import Look
from maquette.render.views import camera_rays
from maquette.studio.light import bake
from maquette.studio.materials import through_glass
from maquette.studio.objects import Thing
from maquette.studio.photograph import Exposed, expose, whole_silhouette
from maquette.studio.room import make_clutter, make_lighting, make_room, on_table, scatter
from maquette.studio.scene import Scene, Stock, assemble, make_stock, only, without

OBJECT = 0


@dataclass(frozen=True)
class Props:
    """All things of one room: the object is the first of the stock, then what stays, then what can be moved."""

    stock: Stock
    room: range
    clutter: range


@dataclass(frozen=True)
class Setting:
    """A lit arrangement. Where it has the object, that is the scene's owner 0; `alone` casts rays at it only.

    `behind` is the arrangement without the object, where light passes through that.
    """

    scene: Scene
    look: Look
    alone: RayCaster
    world_from_obj: Matrix4
    behind: tuple[Scene, Look] | None = None

    def shoot(self, camera: Camera, cam_from_world: Matrix4, rng: np.random.Generator) -> Exposed:
        taken = expose(self.scene, self.look, camera, cam_from_world, rng)
        if self.behind is None:
            return taken
        behind = expose(*self.behind, camera, cam_from_world, rng)
        glass = taken.owner == OBJECT
        origins, directions, directions_cam = (
            rays[glass.reshape(-1)] for rays in camera_rays(camera, cam_from_world)
        )
        hits = self.scene.caster.cast(origins, directions)
        corners = self.scene.normals[self.scene.caster.faces[hits.face_idx.clamp(min=0)].long()]
        normals = torch.nn.functional.normalize((corners * hits.barycentric[..., None]).sum(1), dim=-1)
        normals_cam = normals @ torch.as_tensor(cam_from_world[:3, :3]).float().T
        light = through_glass(taken.light, behind.light, glass, normals_cam, directions_cam)
        return replace(taken, light=light)

    def visible_share(self, camera: Camera, cam_from_world: Matrix4) -> float:
        """The share of the object's silhouette that nothing hides, at the camera's resolution."""
        nothing = np.zeros((camera.height, camera.width), dtype=bool)
        whole = whole_silhouette(self.alone, camera, cam_from_world, nothing)
        origins, directions, _ = camera_rays(camera, cam_from_world)
        chosen = torch.as_tensor(whole.reshape(-1))
        hits = self.scene.caster.cast(origins[chosen], directions[chosen])
        seen = self.scene.owner[hits.face_idx.clamp(min=0)] == OBJECT
        return float(seen.float().mean()) if len(seen) else 0.0


def gather(thing: Thing, unlike: str, rng: np.random.Generator, detail: float) -> Props:
    """The object, a room and clutter of other kinds than `unlike`, made from `rng`."""
    room, clutter = make_room(rng, detail), make_clutter(rng, detail, unlike)
    first = 1 + len(room)
    return Props(make_stock([thing, *room, *clutter]), range(1, first), range(first, first + len(clutter)))


def arrange(
    props: Props,
    rng: np.random.Generator,
    gap: tuple[float, float],
    steepest: float = np.inf,
    lamp_side: int = 3,
    with_object: bool = True,
) -> Setting:
    """The object near the table's middle, clutter around it (see `scatter`), new light, all of it baked."""
    things = props.stock.things
    x, y = (float(v) for v in rng.uniform(-0.08, 0.08, 2))
    world_from_obj = on_table(things[OBJECT], x, y, float(rng.uniform(0, 2 * np.pi)))
    order = [int(idx) for idx in rng.permutation(list(props.clutter))]
    places = scatter([things[idx] for idx in order], world_from_obj, things[OBJECT].radius, gap, rng, steepest)
    placements = [(OBJECT, world_from_obj)] if with_object else []
    placements += [(idx, np.eye(4)) for idx in props.room]
    placements += [(idx, place) for idx, place in zip(order, places, strict=True) if place is not None]
    scene, lighting = assemble(props.stock, placements), make_lighting(rng)
    look = bake(scene, lighting, lamp_side, 3 + 2 * lamp_side)
    behind = without(scene, look, OBJECT) if things[OBJECT].clear and with_object else None
    return Setting(scene, look, only(scene, OBJECT), world_from_obj, behind)
