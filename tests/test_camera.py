"""What a camera shows becomes an image of the run: colours, crop and size, by an independent slow formula."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoomrl.envs.camera import Fitting, described, fittings, is_image_array
from zoomrl.envs.config import EnvConfig, crops_of
from zoomrl.envs.image import as_image
from zoomrl.errors import ConfigError
from zoomrl.runtime import Size, as_rgb, channel_axis, fit_image, resized
from zoomrl.spec import ArraySpec, EnvSpec


def grey(rows: list[list[int]]) -> np.ndarray:
    return np.asarray(rows, np.uint8)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def levels(image: np.ndarray) -> list[list[int]]:
    """The grey levels of an image whose channels are equal."""
    assert (image == image[..., :1]).all()
    return image[..., 0].tolist()


# ---- sizes: literal numbers ---------------------------------------------------------------------------------------

WIDE = grey([[10, 20, 30, 40], [50, 60, 70, 80]])  # 2 x 4


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("stretch", [[15, 35], [55, 75]]),
        ("letterbox", [[35, 55], [0, 0]]),
        ("crop", [[20, 30], [60, 70]]),
    ],
)
def test_a_wide_image_in_two_by_two(fit: str, expected: list[list[int]]) -> None:
    assert levels(fit_image(WIDE, (2, 2), fit)) == expected


def test_a_tall_image_in_two_by_two() -> None:
    tall = grey([[10, 20], [30, 40], [50, 60], [70, 80]])
    assert levels(fit_image(tall, (2, 2), "stretch")) == [[20, 30], [60, 70]]
    assert levels(fit_image(tall, (2, 2), "crop")) == [[30, 40], [50, 60]]
    assert levels(fit_image(tall, (2, 2), "letterbox")) == [[25, 0], [65, 0]]


def test_the_larger_bar_is_below_and_on_the_right() -> None:
    wide = np.full((2, 8), 200, np.uint8)
    framed = fit_image(wide, (4, 4), "letterbox")  # 1 x 4 of 4 x 4: one row above, two below
    assert levels(framed) == [[0] * 4, [200] * 4, [0] * 4, [0] * 4]
    assert levels(fit_image(wide.T, (4, 4), "letterbox")) == [[0, 200, 0, 0]] * 4


def test_what_a_crop_cuts_off_is_odd_on_the_right() -> None:
    assert levels(fit_image(grey([[1, 2, 3, 4]] * 3), (3, 3), "crop")) == [[1, 2, 3]] * 3


def test_growing_is_linear() -> None:
    # Pixel centres at 1/4 and 3/4 of the way between those of the two old ones; the edges repeat.
    assert levels(fit_image(grey([[0, 100]] * 2), (2, 4), "stretch")) == [[0, 25, 75, 100]] * 2


def test_the_rectangle_is_cut_out_before() -> None:
    image = noise(20, 30, 3)
    cut = fit_image(image, (4, 5), crop=(3, 7, 4, 5))
    np.testing.assert_array_equal(cut, image[3:7, 7:12])
    for fit in ("stretch", "letterbox", "crop"):
        np.testing.assert_array_equal(
            fit_image(image, (6, 6), fit, (2, 4, 12, 18)), fit_image(image[2:14, 4:22], (6, 6), fit)
        )


# ---- sizes: a slow formula ----------------------------------------------------------------------------------------


def slow_line(line: np.ndarray, size: int, box: bool) -> np.ndarray:
    """One row or column of levels at another length: a weighted mean over what each new pixel covers."""
    scale = len(line) / size
    reach = max(scale, 1.0) * (0.5 if box else 1.0)
    made = np.empty(size)
    for new in range(size):
        centre = (new + 0.5) * scale
        total = weights = 0.0
        for old in range(len(line)):
            away = (old + 0.5 - centre) / max(scale, 1.0)
            weight = float(-0.5 < away <= 0.5) if box else max(0.0, 1 - abs(away))
            if not math.floor(centre - reach + 0.5) <= old < math.floor(centre + reach + 0.5):
                weight = 0.0
            total, weights = total + weight * float(line[old]), weights + weight
        made[new] = math.floor(total / weights + 0.5)
    return made


def slow_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    box = image.shape[0] >= size[0] and image.shape[1] >= size[1]
    across = np.apply_along_axis(slow_line, 1, image, size[1], box) if image.shape[1] != size[1] else image
    return np.apply_along_axis(slow_line, 0, across, size[0], box) if image.shape[0] != size[0] else across


def slow_fit(image: np.ndarray, size: int, fit: str) -> np.ndarray:
    height, width = image.shape[:2]
    if fit == "stretch":
        return slow_resize(image, (size, size))
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return slow_resize(image[top : top + side, left : left + side], (size, size))
    scale = size / max(height, width)
    high, wide = (max(1, math.floor(side * scale + 0.5)) for side in (height, width))
    framed = np.zeros((size, size, 3))
    top, left = (size - high) // 2, (size - wide) // 2
    framed[top : top + high, left : left + wide] = slow_resize(image, (high, wide))
    return framed


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("shape", [(12, 16), (16, 12), (48, 64), (11, 23), (5, 4), (3, 30), (7, 7), (64, 5)])
@pytest.mark.parametrize("size", [6, 7, 9])
def test_every_fit_agrees_with_the_slow_formula(fit: str, shape: tuple[int, int], size: int) -> None:
    image = noise(*shape, 3, seed=sum(shape))
    difference = np.abs(fit_image(image, (size, size), fit).astype(float) - slow_fit(image, size, fit))
    # Halves may be rounded either way: the library counts in fixed point.
    assert difference.max() <= 1
    assert difference.mean() < 0.2


# ---- sizes: what always holds --------------------------------------------------------------------------------------

SIDES = st.integers(1, 40)


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["stretch", "letterbox", "crop"]), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_the_shape_is_the_one_asked_for(h: int, w: int, high: int, wide: int, fit: str, seed: int) -> None:
    image = noise(h, w, 3, seed=seed)
    before = image.copy()
    fitted = fit_image(image, (high, wide), fit)
    assert (fitted.shape, fitted.dtype) == ((high, wide, 3), np.uint8)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(fitted, fit_image(before, (high, wide), fit))  # the same every time
    if fit != "letterbox":
        assert image.min() <= fitted.min()
    assert fitted.max() <= image.max()


@given(SIDES, SIDES, st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_letterbox_keeps_the_aspect_ratio_and_all_of_the_content(h: int, w: int, size: int) -> None:
    fitted = fit_image(np.full((h, w), 255, np.uint8), (size, size), "letterbox")[..., 0]
    rows, columns = np.flatnonzero(fitted.any(1)), np.flatnonzero(fitted.any(0))
    inside = fitted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (inside == 255).all(), "one rectangle, without a dark edge"
    high, wide = inside.shape
    assert max(high, wide) == size
    scale = size / max(h, w)
    assert abs(high - h * scale) <= 0.5 + 1e-9 or high == 1
    assert abs(wide - w * scale) <= 0.5 + 1e-9 or wide == 1
    # In the middle, to the pixel.
    assert 0 <= (size - rows[-1] - 1) - rows[0] <= 1
    assert 0 <= (size - columns[-1] - 1) - columns[0] <= 1


@given(st.data(), SIDES, SIDES)
@settings(max_examples=100, deadline=None)
def test_a_crop_is_exact(data: st.DataObject, h: int, w: int) -> None:
    top, left = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    high, wide = data.draw(st.integers(1, h - top)), data.draw(st.integers(1, w - left))
    image = noise(h, w, 3)
    np.testing.assert_array_equal(
        fit_image(image, (high, wide), crop=(top, left, high, wide)), image[top : top + high, left : left + wide]
    )


@given(SIDES, SIDES)
@settings(max_examples=50, deadline=None)
def test_an_image_that_has_the_size_is_left_as_it_is(h: int, w: int) -> None:
    image = noise(h, w, 3)
    for fit in ("none", "stretch", "letterbox", "crop"):
        np.testing.assert_array_equal(fit_image(image, (h, w), fit), image)


# ---- colours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((6, 8, 3), -1),
        ((3, 6, 8), 0),
        ((6, 8, 1), -1),
        ((1, 6, 8), 0),
        ((6, 8, 4), -1),
        ((4, 6, 8), 0),
        ((3, 3, 3), -1),  # both: the last axis
        ((3, 8, 1), -1),
        ((3, 6, 4), 0),  # 3 channels are looked for before 4
        ((4, 6, 3), -1),
        ((4, 6, 4), -1),
        ((6, 8, 2), None),
        ((6, 8), None),
        ((2, 6, 8, 3), None),
    ],
)
def test_the_axis_of_the_channels(shape: tuple[int, ...], axis: int | None) -> None:
    assert channel_axis(shape) == axis


def test_every_form_of_an_image_is_read() -> None:
    image = noise(6, 8, 3)
    alpha = np.concatenate([image, noise(6, 8, 1, seed=1)], axis=-1)
    for form in (image, image.transpose(2, 0, 1), alpha, alpha.transpose(2, 0, 1), image.tolist(), image.astype(int)):
        np.testing.assert_array_equal(as_rgb(form), image)
    plane = image[..., 0]
    for form in (plane, plane[..., None], plane[None]):
        np.testing.assert_array_equal(as_rgb(form), np.repeat(plane[..., None], 3, axis=-1))
    for dtype in (np.float16, np.float32, np.float64):
        unit = (image / 255).astype(dtype)
        np.testing.assert_array_equal(as_rgb(unit), as_image(unit))
        assert np.abs(as_rgb(unit).astype(int) - image).max() <= (dtype == np.float16)
    np.testing.assert_array_equal(as_rgb(plane > 100)[..., 0], np.where(plane > 100, 255, 0))


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (np.zeros((6, 8, 2), np.uint8), r"1, 3 or 4 channels.*got uint8\[6, 8, 2\]"),
        (np.zeros((0, 8, 3), np.uint8), r"at least one pixel, got uint8\[0, 8, 3\]"),
        (np.zeros((2, 6, 8, 3), np.uint8), r"got uint8\[2, 6, 8, 3\]"),
        (None, "got NoneType"),
        (np.full((6, 8, 3), 1.5), r"float64\[6, 8, 3\] with values from 1.5 to 1.5, not from 0 to 1"),
        (np.full((6, 8, 3), np.nan), "values from nan to nan"),
        (np.full((6, 8, 3), -1), "values from -1 to -1, not from 0 to 255"),
        (np.full((6, 8, 3), "x"), "got <U1"),
    ],
)
def test_what_is_no_image_is_refused(shown: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_rgb(shown)


@pytest.mark.parametrize(
    ("shape", "is_image"),
    [
        ((6, 8, 3), True),
        ((1, 6, 8), True),
        ((16, 16, 4), True),
        ((16, 16), True),
        ((15, 16), False),
        ((8, 8, 4), False),  # as small as this, numbers of some kind
        ((12, 84, 84), False),
        ((7,), False),
    ],
)
def test_which_arrays_of_bytes_are_images(shape: tuple[int, ...], is_image: bool) -> None:
    assert is_image_array(shape, "uint8") == is_image
    assert not is_image_array(shape, np.dtype(np.float32))


# ---- what is refused, and said --------------------------------------------------------------------------------------


def test_a_crop_beyond_the_image_is_refused() -> None:
    image = noise(48, 64, 3)
    for crop in ((0, 0, 49, 64), (1, 0, 48, 64), (0, 60, 10, 5)):
        with pytest.raises(ValueError, match=r"must lie within the image, which has 48 x 64 \(height x width\)"):
            fit_image(image, (8, 8), "stretch", crop)


def test_another_size_without_a_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"48 x 64 pixels came where 8 x 8 are expected.*stretch, letterbox or crop"):
        fit_image(noise(48, 64, 3), (8, 8))


@pytest.mark.parametrize(
    ("crop", "got"), [((1, 2, 3), "1 2 3"), ((0, 0, 0, 4), "0 0 0 4"), ((-1, 0, 2, 2), "-1 0 2 2"), ((0.5,) * 4, "0.5")]
)
def test_a_crop_is_four_whole_numbers(crop: Any, got: str) -> None:
    with pytest.raises(ConfigError, match=f"top, left, height and width in pixels, four whole numbers.*got {got}"):
        EnvConfig(image_crop=crop)


def test_an_unknown_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"env.image_fit must be one of .*'crop', got .*\. Did you mean letterbox\?"):
        EnvConfig(image_fit="letterboxed")  # type: ignore[arg-type]


def test_one_crop_for_all_cameras_or_one_for_each() -> None:
    assert crops_of((), 2) == [(), ()]
    assert crops_of((1, 2, 3, 4), 2) == [(1, 2, 3, 4)] * 2
    assert crops_of((0, 0, 0, 0, 1, 2, 3, 4), 2) == [(), (1, 2, 3, 4)]
    with pytest.raises(ConfigError, match="2 rectangles for 3 cameras; give one for all"):
        crops_of((1, 2, 3, 4) * 2, 3)


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(SIZES, SIZES, st.booleans(), st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_without_pillow_the_bytes_are_the_same(source: Size, size: Size, repeat: bool, seed: int) -> None:
    image = noise(*source, 3, seed=seed)
    with_pillow = resized(image, size, repeat=repeat)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "PIL", None)
        np.testing.assert_array_equal(resized(image, size, repeat=repeat), with_pillow)


def fitting_spec(**options: Any) -> EnvSpec:
    return EnvSpec(
        "mine:x",
        {"rgb": ArraySpec((2, 84, 84, 3), "uint8")},
        ArraySpec((1,), low=(-1.0,), high=(1.0,)),
        control_hz=10.0,
        time_limit=50,
        cameras=("front", "wrist"),
        **options,
    )


def test_what_is_done_is_said_in_words() -> None:
    sizes = {"camera_sizes": ((480, 640), (84, 84))}
    assert described(fitting_spec()) == {}
    said = described(fitting_spec(image_fit="letterbox", **sizes))
    assert said == {
        "front": "480 x 640, resized to 63 x 84, with black bars above and below to 84 x 84",
        "wrist": "84 x 84 as it comes",
    }
    crop = (0, 80, 480, 480, 0, 0, 0, 0)
    said = described(fitting_spec(image_fit="stretch", image_crop=crop, **sizes))
    assert said["front"] == "480 x 640, cropped to 480 x 480 from row 0, column 80, stretched to 84 x 84"
    said = described(fitting_spec(image_fit="crop", camera_sizes=((640, 480), (90, 84))))
    assert said["front"] == "640 x 480, its middle 480 x 480, resized to 84 x 84"
    assert said["wrist"] == "90 x 84, its middle 84 x 84, resized to 84 x 84"


def test_a_camera_must_show_the_size_that_it_had() -> None:
    fitting = fittings(fitting_spec(image_fit="letterbox", camera_sizes=((48, 64), (84, 84))))[0]
    assert fitting == Fitting((84, 84), "letterbox", (), (48, 64))
    assert fitting(noise(48, 64, 3)).shape == (84, 84, 3)
    with pytest.raises(ValueError, match="must be 48 x 64 pixels, as they were before, got 64 x 48"):
        fitting(noise(64, 48, 3))


# ---- the spec -------------------------------------------------------------------------------------------------------


def test_the_spec_keeps_what_is_needed_and_older_ones_are_read() -> None:
    spec = fitting_spec(image_fit="crop", image_crop=(0, 0, 4, 4), camera_sizes=((48, 64), (84, 84)))
    assert EnvSpec.from_dict(spec.to_dict()) == spec
    older = fitting_spec().to_dict()
    for name in ("image_fit", "image_crop", "camera_sizes"):
        del older[name]
    assert EnvSpec.from_dict(older) == fitting_spec()
    for field, value, message in (
        ("camera_sizes", [[48, 64]], "2 cameras, and sizes of 1"),
        ("camera_sizes", [[48, 64.5], [1, 2]], "a size must be a whole number"),
        ("image_fit", "cover", "must be one of none, stretch, letterbox, crop, got 'cover'"),
        ("image_crop", [0, 0, 4], "four numbers of 0 or more, or four for each camera"),
        ("image_crop", [0, 0, -4, 4], "four numbers of 0 or more, or four for each camera"),
    ):
        with pytest.raises(ValueError, match=message):
            EnvSpec.from_dict({**spec.to_dict(), field: value})


def test_sets_fitted_otherwise_do_not_fit() -> None:
    one, two = fitting_spec(image_fit="stretch"), fitting_spec(image_fit="letterbox")
    assert one.mismatches(two) == ["images fitted by stretch against letterbox"]
    cropped = fitting_spec(image_fit="stretch", image_crop=(0, 1, 2, 3))
    assert one.mismatches(cropped) == ["images fitted by stretch against stretch of the crop 0 1 2 3"]
    # Rendered at this size, or recorded before there was a name for it: nothing is known.
    assert one.mismatches(fitting_spec()) == fitting_spec().mismatches(one) == []
