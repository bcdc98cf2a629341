"""Directions that never repeat a view, and light that is never lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astro_deepgalaxy.simulate.camera import (
    camera_directions,
    image_axes,
    render,
    smoothing_lengths,
)

FACE_ON = image_axes([0.0, 0.0, 1.0])


@pytest.mark.parametrize("n", [1, 2, 6, 8, 14, 30])
def test_no_two_views_are_the_same_or_opposite(n):
    directions = camera_directions(n)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert (directions == camera_directions(n)).all()
    cosine = np.abs(directions @ directions.T)[~np.eye(n, dtype=bool)]
    # n lines share the half-sphere: each has a cone of some 100 / sqrt(n) degrees to itself.
    assert (np.degrees(np.arccos(np.minimum(cosine, 1))) > 100 / np.sqrt(n)).all()


def test_directions_cover_the_half_sphere():
    directions = camera_directions(14)
    views = np.random.default_rng(1).normal(size=(2000, 3))
    views /= np.linalg.norm(views, axis=1)[:, None]
    nearest = np.degrees(np.arccos(np.minimum(np.abs(views @ directions.T).max(axis=1), 1)))
    assert nearest.max() < 45


@given(st.tuples(*[st.floats(-1, 1)] * 3), st.floats(-10, 10))
def test_axes_are_a_right_handed_system(direction, roll):
    length = np.linalg.norm(direction)
    if length < 0.1:
        return
    direction = np.array(direction) / length
    system = np.vstack([image_axes(direction, roll), direction])
    np.testing.assert_allclose(system @ system.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(system) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    width=st.floats(0.001, 3),
    pixels=st.integers(16, 80),
)
def test_light_is_conserved(seed, width, pixels):
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-8, 8, (50, 3))
    light = rng.uniform(0.5, 2, 50)
    axes = [image_axes(direction) for direction in camera_directions(3)]
    # Wide fields hold every kernel whole: the corner of the cube is at 14 kpc.
    fields = [60.0, 50.0, 70.0]
    images = render(positions, light, np.full(50, width), axes, fields, pixels)
    np.testing.assert_allclose(images.sum(axis=(1, 2)), light.sum(), rtol=1e-5)


def test_a_star_is_a_gaussian_at_its_place():
    position, width, field, pixels = np.array([[3.0, -5.0, 2.0]]), 1.7, 40.0, 100
    image = render(position, np.ones(1), np.array([width]), [FACE_ON], [field], pixels)[0]
    grid = (np.arange(pixels) - (pixels - 1) / 2) * field / pixels
    x_axis, y_axis = FACE_ON @ position[0]
    for axis, centre in ((0, x_axis), (1, y_axis)):
        profile = image.sum(axis=axis)
        mean = profile @ grid
        assert mean == pytest.approx(centre, abs=1e-3)
        # Cut at three standard deviations, a Gaussian keeps 97.3 % of its variance.
        assert profile @ (grid - mean) ** 2 == pytest.approx(0.973 * width**2, rel=0.02)


def test_parts_outside_the_field_are_lost_and_nothing_else():
    inside, outside, border = [0.0, 0, 0], [1e4, 0, 0], 10 * FACE_ON[0]
    positions = np.array([inside, outside, border])
    image = render(positions, np.ones(3), np.full(3, 1.0), [FACE_ON], [20.0], 200)[0]
    assert image.sum() == pytest.approx(1.5, abs=0.03)


def test_all_cameras_look_at_the_same_thing():
    rng = np.random.default_rng(2)
    positions, light = rng.normal(size=(300, 3)) * [6, 3, 1], rng.uniform(1, 2, 300)
    axes = [image_axes(direction) for direction in camera_directions(5)]
    images = render(positions, light, np.full(300, 0.5), axes, [60.0] * 5, 120)
    grid = (np.arange(120) - 59.5) * 0.5
    centre = light @ positions / light.sum()
    for image, (right, up) in zip(images, axes, strict=True):
        assert image.sum(axis=0) @ grid / light.sum() == pytest.approx(right @ centre, abs=1e-3)
        assert image.sum(axis=1) @ grid / light.sum() == pytest.approx(up @ centre, abs=1e-3)


def test_opposite_views_are_mirror_images():
    # Why no two cameras may be opposite.
    rng = np.random.default_rng(3)
    positions, light = rng.normal(size=(100, 3)) * 5, np.ones(100)
    direction = np.array([0.36, 0.48, 0.8])
    front, back = render(
        positions,
        light,
        np.ones(100),
        [image_axes(direction), image_axes(-direction)],
        [50.0, 50.0],
        64,
    )
    np.testing.assert_allclose(back, front[:, ::-1], atol=1e-5)


def test_smoothing_is_the_distance_to_a_neighbour():
    # On a cubic lattice with the step d, the 6th neighbour is at d and the 7th at sqrt(2) d.
    lattice = np.stack(np.meshgrid(*[np.arange(7.0)] * 3), axis=-1).reshape(-1, 3) * 0.4
    middle = np.flatnonzero((lattice == 3 * 0.4).all(axis=1))[0]
    assert smoothing_lengths(lattice, neighbours=6)[middle] == pytest.approx(0.2)
    assert smoothing_lengths(lattice, neighbours=7)[middle] == pytest.approx(0.2 * np.sqrt(2))
    lone = np.concatenate([lattice, [[500.0, 0, 0]]])
    assert smoothing_lengths(lone)[-1] == 4.0


def test_no_camera_is_refused():
    with pytest.raises(ValueError, match="at least one camera"):
        camera_directions(0)
