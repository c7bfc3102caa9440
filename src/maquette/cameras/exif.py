"""What a photo's own notes say: whether it lies as displayed, and the focal length it was taken with."""

from pathlib import Path

from PIL import ExifTags, Image

READABLE = (".jpg", ".jpeg", ".png")


def lies_as_displayed(path: Path) -> bool:
    """Whether the stored pixels are the displayed ones in a format that every program reads."""
    with Image.open(path) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
        return not turned and image.mode in ("RGB", "L") and path.suffix.lower() in READABLE


def focal_length(path: Path, width: int, height: int) -> float | None:
    """The focal length in pixels by the photo's 35 mm equivalent (a frame 36 mm wide), if it is noted."""
    with Image.open(path) as image:
        noted = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
    return float(noted) / 36.0 * max(width, height) if isinstance(noted, (int, float)) and noted > 0 else None
