"""Photos are read as displayed, masks as masks, and a broken file is refused with its name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maquette.data.errors import InputError
from maquette.data.images import list_photos, read_labels, read_mask, read_photo, resize_area, write_image


def _gradient() -> np.ndarray:
    y, x = np.mgrid[0:24, 0:40]
    return np.stack([x * 6, y * 10, np.full_like(x, 128)], -1).astype(np.uint8)


def test_a_png_round_trips_exactly_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", _gradient())
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), _gradient())
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "orientation, turned",
    [(3, lambda p: p[::-1, ::-1]), (6, lambda p: np.rot90(p, -1)), (8, lambda p: np.rot90(p, 1))],
)
def test_a_photo_is_turned_as_its_exif_says(tmp_path: Path, orientation: int, turned) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(_gradient()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), turned(_gradient()))


def test_grey_and_transparent_photos_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(_gradient()[..., 0]).save(tmp_path / "grey.png")
    assert read_photo(tmp_path / "grey.png").shape == (24, 40, 3)
    Image.fromarray(np.dstack([_gradient(), np.full((24, 40), 9, np.uint8)])).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "rgba.png"), _gradient())


def test_a_truncated_photo_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    write_image(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match=r"cut\.jpg cannot be read as an image .*cut short"):
        read_photo(path)


def test_text_named_as_a_photo_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("not a photo")
    with pytest.raises(InputError, match=r"note\.jpg cannot be read"):
        read_photo(tmp_path / "note.jpg")
    with pytest.raises(InputError, match=r"gone\.jpg is missing"):
        read_photo(tmp_path / "gone.jpg")


def test_masks_are_read_from_grey_colour_or_alpha(tmp_path: Path) -> None:
    mask = np.zeros((24, 40), bool)
    mask[5:10, 8:20] = True
    write_image(tmp_path / "grey.png", mask)
    write_image(tmp_path / "rgb.png", np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255)
    Image.fromarray(np.dstack([_gradient(), mask.astype(np.uint8) * 255])).save(tmp_path / "rgba.png")
    for name in ("grey", "rgb", "rgba"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), mask)


def test_labels_round_trip(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (24, 40)).astype(np.uint8)
    write_image(tmp_path / "labels.png", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.png"), labels)


def test_photos_are_listed_by_name_without_hidden_and_foreign_files(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".c.jpg", "readme.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in list_photos(tmp_path)] == ["a.png", "b.JPG"]


def test_listing_a_folder_that_is_not_one_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder"):
        list_photos(tmp_path / "nowhere")


def test_shrinking_by_a_whole_factor_is_the_mean_of_the_block() -> None:
    photo = _gradient()
    blocks = photo.reshape(12, 2, 20, 2, 3).mean((1, 3))
    np.testing.assert_allclose(resize_area(photo, 20, 12), blocks, atol=0.51)
    np.testing.assert_allclose(resize_area(photo.astype(np.float32), 20, 12), blocks, atol=1e-3)


def test_growing_and_shrinking_back_keeps_a_smooth_picture() -> None:
    photo = _gradient().astype(np.float32)
    back = resize_area(resize_area(photo, 80, 48), 40, 24)
    np.testing.assert_allclose(back[2:-2, 2:-2], photo[2:-2, 2:-2], atol=1.0)


def test_only_bytes_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8 or bool"):
        write_image(tmp_path / "a.png", _gradient().astype(float))
