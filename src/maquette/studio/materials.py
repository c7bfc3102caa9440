"""What an object is made of: its print, one plain colour, a polish, or glass.

Glass is honest in its silhouette and cheap in its light. With n the normal and d the ray that meets the surface,
the surface itself is seen by F = F0 + (1 - F0) (1 - |n.d|)^5 (Schlick 1994; F0 is far above glass's 0.04: it is
tinted), and by 1 - F what is behind, where the pixel is bent to: by BEND of the object's size against n. Light that
bends twice, caustics and brighter shadows are left out.
"""

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maquette.render.mesh import Mesh
from maquette.studio.objects import Thing

MaterialName = Literal["printed", "plain", "shiny", "glass"]
POLISH = 1.2
F0 = 0.15
BEND = 0.12


def in_material(thing: Thing, material: MaterialName) -> Thing:
    """The same shape in another material. plain: its mean colour, matt; shiny, glass: its print, polished."""
    match material:
        case "printed":
            return thing
        case "plain":
            return replace(thing, mesh=in_one_colour(thing.mesh), gloss=0.0)
        case "shiny":
            return replace(thing, gloss=POLISH)
        case "glass":
            return replace(thing, gloss=POLISH, clear=True)


def in_one_colour(mesh: Mesh) -> Mesh:
    """The mesh in the mean colour of its texture, or of its vertices where it has none."""
    if mesh.texture is not None:
        # The gaps between the texture's pieces are black; they are no colour of the mesh.
        used = mesh.texture[mesh.texture.sum(-1) > 0]
        return replace(mesh, texture=used.mean(0).expand_as(mesh.texture).contiguous())
    if mesh.colours is not None:
        return replace(mesh, colours=mesh.colours.mean(0).expand_as(mesh.colours).contiguous())
    return mesh


def through_glass(
    light: Float[Tensor, "height width 3"],
    behind: Float[Tensor, "height width 3"],
    glass: Bool[Tensor, "height width"],
    normals_cam: Float[Tensor, "glass 3"],
    directions_cam: Float[Tensor, "glass 3"],
) -> Float[Tensor, "height width 3"]:
    """The light of a photo whose pixels in `glass` let through what is `behind`; all other pixels stay.

    Normals and directions are unit vectors in the camera, in the order of the mask's pixels; normals face outwards.
    """
    if not glass.any():
        return light
    slant = (1 - (normals_cam * directions_cam).sum(-1).abs()).clamp(0, 1)
    own = (F0 + (1 - F0) * slant**5)[:, None]
    rows, columns = torch.nonzero(glass, as_tuple=True)
    size = float(max(np.ptp(rows.numpy()), np.ptp(columns.numpy())) + 1)
    bent = torch.stack([columns, rows], -1) - BEND * size * normals_cam[:, :2]
    x, y = bent.float().numpy().T
    seen = cv2.remap(behind.numpy(), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    mixed = light.clone()
    mixed[glass] = own * light[glass] + (1 - own) * torch.as_tensor(seen.reshape(-1, 3))
    return mixed
