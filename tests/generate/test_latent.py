import json

import numpy as np
import pytest
import torch
from astropy.io import fits

from pipeline.errors import UserError
from pipeline.generate.latent import Plane, explore, interpolate, polar_grid, regular_grid, write_latent
from pipeline.generate.ppca import PPCA
from pipeline.generate.ppca_settings import PPCASettings


@pytest.fixture
def codes():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 5)) @ np.diag([3.0, 2.0, 0.1, 0.1, 0.1]) @ np.linalg.qr(rng.normal(size=(5, 5)))[0] + 1


def test_a_plane_holds_the_two_widest_directions(codes):
    plane = Plane.fit(codes)
    points = plane.project(codes)
    assert plane.axes @ plane.axes.T == pytest.approx(np.eye(2), abs=1e-12)
    assert np.abs(plane.lift(points) - codes).max() < 0.6
    assert plane.project(plane.lift(points)) == pytest.approx(points, abs=1e-12)
    assert sum(plane.explained) == pytest.approx(1, abs=0.01)
    assert points.var(0)[0] / codes.var(0).sum() == pytest.approx(plane.explained[0], rel=1e-9)
    assert plane.explained[0] > plane.explained[1] > 0.2


def test_two_coordinates_are_the_plane_themselves(codes):
    plane = Plane.fit(codes[:, :2])
    assert np.array_equal(plane.project(codes[:, :2]), codes[:, :2])
    assert sum(plane.explained) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 4), (9, 1)])
def test_no_plane_is_said_in_a_sentence(shape):
    with pytest.raises(UserError, match="has no plane; give it at least two samples"):
        Plane.fit(np.zeros(shape))


def test_grids_cover_the_samples(codes):
    points = Plane.fit(codes).project(codes)
    grid = regular_grid(points, 5)
    assert grid.shape == (5, 5, 2)
    assert np.ptp(grid[..., 0], axis=0) == pytest.approx(0, abs=1e-12)  # columns are the first coordinate
    assert np.ptp(grid[..., 1], axis=1) == pytest.approx(0, abs=1e-12)
    inside = ((points >= grid[0, 0]) & (points <= grid[-1, -1])).mean(0)
    assert inside == pytest.approx([0.96, 0.96], abs=0.01)
    polar = polar_grid(points, 3, 8)
    assert polar.shape == (3, 8, 2)
    away = (polar - points.mean(0)) / points.std(0)
    radius = np.linalg.norm(away, axis=-1)
    assert radius / radius[-1, 0] == pytest.approx(np.repeat([[1 / 3], [2 / 3], [1]], 8, 1))
    turned = np.diff(np.unwrap(np.arctan2(away[..., 1], away[..., 0])), axis=1)
    assert turned == pytest.approx(np.full((3, 7), np.pi / 4))
    scaled = np.linalg.norm((points - points.mean(0)) / points.std(0), axis=1)
    assert (scaled <= radius[-1, 0]).mean() == pytest.approx(0.96, abs=0.01)


def test_a_spherical_way_keeps_the_distance_and_the_speed():
    rng = np.random.default_rng(2)
    a, b, centre = rng.normal(size=(3, 6))
    b = centre + (b - centre) * np.linalg.norm(a - centre) / np.linalg.norm(b - centre)
    way = interpolate(a, b, 7, centre=centre)
    assert way[0] == pytest.approx(a)
    assert way[-1] == pytest.approx(b)
    assert np.linalg.norm(way - centre, axis=1) == pytest.approx(np.full(7, np.linalg.norm(a - centre)))
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    assert steps == pytest.approx(np.full(6, steps[0]))
    straight = interpolate(a, b, 7, "linear")
    assert np.diff(straight, axis=0) == pytest.approx(np.tile((b - a) / 6, (6, 1)))
    assert interpolate(b, a, 7, centre=centre)[::-1] == pytest.approx(way)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_a_way_in_line_with_the_centre_is_straight(factor):
    a = np.array([1.0, 2.0, -1.0])
    way = interpolate(a, factor * a, 5)
    assert way == pytest.approx(np.linspace(1, factor, 5)[:, None] * a)


@pytest.mark.parametrize("shape", [(1, 6), (3, 4, 5), (1, 3, 3, 3)])
@pytest.mark.parametrize("labels", [True, False])
def test_a_map_is_decoded_and_written(tmp_path, shape, labels):
    rng = np.random.default_rng(3)
    kind = np.repeat(["a", "b"], 20)
    profile = rng.normal(size=(2, *shape))
    x = np.stack([profile[int(name == "b")] for name in kind]) * 3 + 0.3 * rng.normal(size=(40, *shape))
    x = torch.from_numpy(x).float()
    method = PPCA(PPCASettings(axes=3))
    module = method.build(len(shape) - 1, shape, 0)
    method.fit(module, x, torch.zeros(40, 0))
    found = explore(
        method, module, x, kind if labels else (), inverse=lambda y: 10 * y, count=4, rings=2, spokes=3, steps=5
    )
    assert found.points.shape == (40, 2)
    assert {name: stamps.shape for name, stamps in found.stamps.items()} == {
        "regular": (4, 4, *shape), "polar": (2, 3, *shape), "path": (5, *shape)
    }  # fmt: skip
    assert kind[found.ends[0]] != kind[found.ends[1]]
    start = method.decode(module, method.encode(module, x[found.ends[0] : found.ends[0] + 1]))
    assert found.stamps["path"][0] == pytest.approx(10 * start[0].numpy(), abs=1e-3)
    z = torch.from_numpy(found.plane.lift(found.regular[1, 2])).float()
    assert found.stamps["regular"][1, 2] == pytest.approx(10 * method.decode(module, z[None])[0].numpy(), abs=1e-3)
    write_latent(found, tmp_path / "latent.json", tmp_path / "latent.fits", "Jy/beam", {"model": "m"})
    told = json.loads((tmp_path / "latent.json").read_text())
    assert told["model"] == "m"
    assert np.array(told["points"]) == pytest.approx(found.points)
    assert told["labels"] == (list(kind) if labels else [])
    with fits.open(tmp_path / "latent.fits") as hdus:
        for name in ("regular", "polar", "path"):
            assert np.array_equal(hdus[name].data, found.stamps[name])
            assert hdus[name].header["BUNIT"] == "Jy/beam"
