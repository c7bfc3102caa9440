"""What a capture of the studio is asked to be."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maquette.data.errors import InputError
from maquette.geometry.camera import Camera
from maquette.studio.materials import MaterialName
from maquette.studio.objects import ObjectName


@dataclass(frozen=True)
class StudioConfig:
    """What the studio photographs, how often and with which cameras."""

    object: ObjectName = "bottle"
    """The object; `scan` takes the mesh of --scan."""
    scan: Path | None = None
    """A textured mesh in metres, z up (.obj, .ply, .glb)."""
    material: MaterialName = "printed"
    """printed: as it is. plain: in one colour, matt. shiny: polished. glass: polished, and what is behind shows."""
    photos: int = 48
    """Photos to learn from."""
    width: int = 960
    """Their width in pixels."""
    height: int = 640
    """Their height in pixels."""
    focal: float = 0.95
    """Their focal length, in widths."""
    fill: float = 0.42
    """The object's largest possible extent in the photos (diagonal of its box), in photo heights."""
    test_photos: int = 100
    """Photos of the object elsewhere, in other light."""
    test_width: int = 640
    """Width of the test camera in pixels."""
    test_height: int = 480
    """Height of the test camera in pixels."""
    test_focal: float = 1.15
    """Focal length of the test camera, in widths."""
    test_layouts: int = 8
    """How often table and light are rearranged for the test photos."""
    hidden: float = 0.3
    """At most this share of the object is hidden in a test photo."""
    without_photos: int = 20
    """Photos of the test room without the object."""
    noise: float = 0.008
    """Standard deviation of the sensor's noise at mid-grey, in 0..1."""
    quality: int = 93
    """JPEG quality."""

    @property
    def camera(self) -> Camera:
        """The camera of the photos to learn from."""
        focal = self.focal * self.width
        return Camera(self.width, self.height, focal, focal, 0.503 * self.width, 0.497 * self.height)

    @property
    def test_camera(self) -> Camera:
        """The camera of the test photos."""
        focal, width, height = self.test_focal * self.test_width, self.test_width, self.test_height
        return Camera(width, height, focal, focal, 0.494 * width, 0.507 * height)

    @property
    def detail(self) -> float:
        """How finely room and light are made; photos of 960 pixels and more get all of it."""
        return float(np.clip(self.width / 960, 0.25, 1.0))

    @property
    def lamp_side(self) -> int:
        """Points along a lamp's side in the test rooms; the capture's own room gets one more."""
        return 3 if self.detail > 0.5 else 1

    def check(self) -> None:
        """Raises InputError for a count, size or share that makes no capture."""
        least = {"photos": 1, "width": 32, "height": 32, "test_photos": 0, "test_width": 32, "test_height": 32}
        least |= {"test_layouts": 1, "without_photos": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value < low:
                raise InputError(f"--{name.replace('_', '-')} is {value}: expected at least {low}")
        if not 0 <= self.hidden < 1:
            raise InputError(f"--hidden is {self.hidden}: expected a share from 0 to below 1")
        if not 0.1 <= self.fill <= 0.8:
            raise InputError(f"--fill is {self.fill}: expected 0.1 to 0.8 photo heights")
        if self.object == "scan" and self.scan is None:
            raise InputError("the object `scan` needs a mesh: add --scan FILE (.obj, .ply or .glb, in metres)")
