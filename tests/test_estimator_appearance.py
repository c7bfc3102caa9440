"""Light and camera of training views: what is switched off changes nothing, what is on keeps to its range."""

from dataclasses import replace

import numpy as np
import pytest

from maquette.data.images import as_bytes
from maquette.estimator.appearance import Appearance, photograph, shade

OFF = Appearance(
    relit=0.0, exposure=0.0, white_balance=0.0, curve=0.0, saturation=0.0, blur=0.0, noise=0.0, jpeg=0.0
)
# One constant light: what is left of it is a smooth field and a lamp's colour.
PLAIN = Appearance(ambient=(0.8, 0.8), diffuse=(0.0, 0.0), specular=(0.0, 0.0), shadow=0.0, white_balance=0.0)
EYE = np.array([0.0, 0.0, 1.0])


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)


def upward(side: int = 32) -> np.ndarray:
    return np.broadcast_to(np.array([0, 0, 1], np.float32), (side, side, 3)).copy()


def test_a_camera_that_is_switched_off_records_what_is_there(image: np.ndarray) -> None:
    for seed in range(40):
        np.testing.assert_array_equal(photograph(image, OFF, np.random.default_rng(seed)), image)


def test_an_object_that_is_not_relit_keeps_its_colours(rng: np.random.Generator) -> None:
    colour = rng.random((32, 32, 3), dtype=np.float32)
    for seed in range(5):
        lit = shade(colour, upward(), EYE, OFF, np.random.default_rng(seed))
        np.testing.assert_array_equal(lit, as_bytes(colour))


def test_a_share_of_the_views_is_relit(rng: np.random.Generator) -> None:
    colour = rng.random((16, 16, 3), dtype=np.float32)
    kept = as_bytes(colour)
    half = replace(Appearance(), relit=0.5)
    changed = [not np.array_equal(shade(colour, upward(16), EYE, half, rng), kept) for _ in range(200)]
    assert 0.35 < np.mean(changed) < 0.65


def test_the_same_seed_gives_the_same_picture_and_another_another(image: np.ndarray) -> None:
    look = replace(Appearance(), jpeg=1.0)
    colour = image.astype(np.float32) / 255
    for take in (
        lambda rng: photograph(image, look, rng),
        lambda rng: shade(colour, upward(48), EYE, look, rng),
    ):
        first, again, other = (take(np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_an_exposure_multiplies_linear_light_alike_in_all_channels(image: np.ndarray) -> None:
    dim = image // 4
    for seed in range(10):
        taken = photograph(dim, replace(OFF, exposure=0.5), np.random.default_rng(seed)).astype(float)
        bright = (dim > 20) & (taken < 255)
        ratio = (taken[bright] / dim[bright]) ** 2
        assert ratio.std() / ratio.mean() < 0.05


def test_a_white_balance_has_one_gain_a_channel(image: np.ndarray) -> None:
    dim = image // 3
    gains = []
    for seed in range(20):
        taken = photograph(dim, replace(OFF, white_balance=0.07), np.random.default_rng(seed)).astype(float)
        for channel in range(3):
            there = dim[..., channel] > 20
            ratio = (taken[..., channel][there] / dim[..., channel][there]) ** 2
            assert ratio.std() / ratio.mean() < 0.06
            gains.append(float(np.log(ratio.mean())))
    assert 0.04 < np.std(gains) < 0.11


def test_noise_has_no_mean_and_keeps_to_its_deviation() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    deviations = []
    for seed in range(60):
        taken = photograph(grey, replace(OFF, noise=0.04), np.random.default_rng(seed)).astype(float) - 128
        assert abs(taken.mean()) < 0.6
        deviations.append(taken.std())
    # Rounding to whole levels adds its own third of a level.
    assert max(deviations) < 0.04 * 255 + 0.5 and max(deviations) > 5
    assert np.mean(np.array(deviations) == 0) == pytest.approx(0.3, abs=0.2)


def test_compression_leaves_a_smooth_picture_and_not_noise(image: np.ndarray) -> None:
    look = replace(OFF, jpeg=1.0)
    ramp = np.broadcast_to(np.linspace(40, 200, 48)[None, :, None], (48, 48, 3)).astype(np.uint8)
    for seed in range(10):
        taken = photograph(ramp, look, np.random.default_rng(seed)).astype(int)
        assert np.abs(taken - ramp).max() < 12
    assert not np.array_equal(photograph(image, look, np.random.default_rng(0)), image)


def test_blur_smooths_and_keeps_the_mean(image: np.ndarray) -> None:
    look = replace(OFF, blur=2.0)
    roughness = []
    for seed in range(40):
        taken = photograph(image, look, np.random.default_rng(seed)).astype(float)
        assert abs(taken.mean() - image.mean()) < 4
        roughness.append(np.abs(np.diff(taken, axis=1)).mean())
    assert max(roughness) <= np.abs(np.diff(image.astype(float), axis=1)).mean() + 1
    assert min(roughness) < 20


def test_light_falls_on_colours_in_proportion_and_on_black_not_at_all(rng: np.random.Generator) -> None:
    """sRGB is taken as the root of linear light, so half a colour stays half of what is seen."""
    colour = rng.uniform(0.2, 0.5, (32, 32, 3)).astype(np.float32)
    for seed in range(10):
        whole, half = (
            shade(part, upward(), EYE, PLAIN, np.random.default_rng(seed)) for part in (colour, colour / 2)
        )
        assert np.abs(whole.astype(int) - 2 * half.astype(int)).max() <= 2
        assert not shade(np.zeros_like(colour), upward(), EYE, PLAIN, np.random.default_rng(seed)).any()


def test_the_side_that_faces_the_lamp_is_brighter() -> None:
    """The lamp stands above the horizon in nine of ten views, and half of the tenth."""
    look = replace(PLAIN, diffuse=(0.9, 0.9), ambient=(0.2, 0.2))
    grey = np.full((16, 16, 3), 0.4, np.float32)
    brighter = []
    for seed in range(100):
        up, down = (
            shade(grey, sign * upward(16), EYE, look, np.random.default_rng(seed)).mean() for sign in (1, -1)
        )
        brighter.append(up > down)
    assert 0.88 < np.mean(brighter) <= 1
