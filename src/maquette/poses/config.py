"""What can be asked of the stage `poses`, and what cannot."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from maquette.data.errors import InputError
from maquette.kernels.device import Device
from maquette.matching.settings import EstimateSettings, check_settings
from maquette.poses.find import SearchSettings
from maquette.poses.options import check_name, check_search
from maquette.poses.sources import Switch


@dataclass(frozen=True)
class PosesConfig:
    """Photos in which the object is to be found, and what is known of them."""

    photos: Annotated[Path, tyro.conf.Positional]
    """A folder of photos, or one photo."""
    frames: str | None = None
    """Take only START:STOP:STEP of the sorted photos, as in 118:203:2."""
    camera: Path | None = None
    """The camera that took them: a camera.json or a COLMAP cameras.txt, or a folder of a camera for each photo
    (STEM.json). Without it, the capture's own."""
    boxes: Path | None = None
    """Boxes around the object: JSON {PHOTO: [x0, y0, x1, y1]}, or a list of detections (BOP, COCO). Without these
    the object is searched for in the whole photo."""
    masks: Path | None = None
    """A folder of masks instead of boxes: PHOTO.png, or PHOTO_0.png, PHOTO_1.png, ... for several instances. Of
    boxes and masks all that are given are looked in, unless --instances says how many."""
    box_from: Path | None = None
    """A workspace whose cameras know these photos (boxes are projected), or a capture's folder with truth.json."""
    depth: Path | None = None
    """A folder of depth images (z, seen by the photos' camera; 16-bit PNG or TIFF, or .npy), by the photos' stems:
    poses are moved to the surface they show."""
    depth_unit: float | None = None
    """Metres that one unit of the depth images means. Without it 0.001 for whole numbers (16-bit PNG or TIFF) and 1
    for floats (.npy, TIFF of floats)."""
    replace_surroundings: Path | None = None
    """Exchange everything outside the object's true outline, grown by 5 px, by photos of this folder."""
    whole: bool = False
    """Search the whole photo although --box-from knows where the object is (for --replace-surroundings)."""
    name: str = "default"
    """The results go into poses/NAME."""
    obj_id: int = 1
    """The object's number in the results file, and its category where detections are of several."""
    estimator: Path | None = None
    """The workspace of a network that knows several objects, this one among them."""
    mesh: Path | None = None
    """Estimate with this mesh (.ply, .obj, .glb) instead of the one that the network learnt; in the frame and unit
    of that one."""
    unfinished: bool = False
    """Use a training that is still running, or was stopped: the weights it has averaged so far."""
    network: Switch = "auto"
    """Poses from the trained network; auto: where there is one."""
    local: Switch = "auto"
    """Poses from local features, which need no training; auto: where the capture has cameras and masks."""
    rehearse: bool = False
    """Fit the confidences first, where they are not: to poses in made photos whose answer is known (a minute)."""
    overlays: bool = True
    """Draw what was found into each photo."""
    explain: int = 0
    """Of this many photos, evenly chosen, a picture of what the network thinks goes into explain/."""
    explain_at: tuple[str, float, float] | None = None
    """PHOTO X Y: such a picture of this photo, with the distribution of this pixel of the undistorted photo."""
    search: Annotated[SearchSettings, tyro.conf.arg(name="")] = field(default_factory=SearchSettings)
    settings: EstimateSettings = field(default_factory=EstimateSettings)
    device: Device = "auto"
    """Where the network and its matches are computed; auto: on a GPU where torch sees one, which repeats
    its figures but for rounding."""
    seed: int = 0


def check_options(request: PosesConfig) -> None:
    """Raises InputError for options that do not fit each other, or that nothing can be found by."""
    if request.depth is not None and not request.depth.is_dir():
        raise InputError(f"--depth {request.depth} is not a folder of depth images")
    if request.depth_unit is not None and request.depth is None:
        raise InputError("--depth-unit is of the depth images: add --depth FOLDER, or leave it out")
    said = {"--boxes": request.boxes, "--masks": request.masks, "--box-from": request.box_from}
    given = [option for option, value in said.items() if value is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} both say where the object is; give one of them")
    if request.whole and (request.boxes or request.masks):
        raise InputError("--whole searches the whole photo: leave --boxes and --masks out")
    if request.replace_surroundings is not None and request.box_from is None:
        raise InputError("--replace-surroundings needs --box-from: the object's true outline is what is kept")
    check_name(request.name)
    check_settings(request.settings)
    check_search(request.search)
