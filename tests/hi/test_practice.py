"""Batches to practise on: repeatable, galaxies where the table says, in noise of unit rms."""

import numpy as np
import pytest
import torch

from pipeline.hi import practice
from pipeline.hi.galaxies import VALUES
from pipeline.hi.practice import SkyGeometry, StampBatches, make_gallery
from pipeline.simulate.hi_settings import HiSettings

SKY = HiSettings(shape=(64, 48, 48), noise=0.05, flux_limit=20.0)
CROP = (64, 32, 32)


@pytest.fixture(scope="module")
def gallery():
    return make_gallery(SKY, 24, 1, 20.0)


@pytest.fixture
def small_pool(monkeypatch):
    monkeypatch.setattr(practice, "_POOL", (80, 40, 40))


def batches(gallery, seed=1, per_crop=2.0, least_snr=0.0, steps=3):
    return StampBatches(gallery, SKY, CROP, 4, steps, seed, per_crop, least_snr)


def test_the_same_seed_and_epoch_give_the_same_batches(gallery, small_pool):
    one, other = (list(batches(gallery).epoch(5)) for _ in range(2))
    for first, second in zip(one, other, strict=True):
        for ours, theirs in zip(first, second, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    third = next(iter(batches(gallery).epoch(6)))
    assert not torch.equal(third[0], one[0][0])


def test_without_galaxies_there_is_noise_of_unit_rms(gallery, small_pool):
    snr = next(iter(batches(gallery, per_crop=1e-9).epoch(0)))[0]
    assert float(snr.std()) == pytest.approx(1.0, abs=0.03) and abs(float(snr.mean())) < 0.03


def test_galaxies_are_where_the_objects_say_and_recede_where_they_say(gallery, small_pool, monkeypatch):
    monkeypatch.setattr(StampBatches, "_noise", lambda self, number: torch.zeros(80, 40, 40))
    made = batches(gallery, per_crop=0.3, steps=60)
    places, along = [], []
    for snr, _, image, centre, _, values, *_ in made.epoch(0):
        for number in range(len(snr)):
            mine = torch.nonzero(image == number)[:, 0]
            if len(mine) != 1:
                continue
            light = snr[number].double().numpy()
            grid = np.stack(np.meshgrid(*map(np.arange, light.shape), indexing="ij"))
            middle = (grid * light).sum((1, 2, 3)) / light.sum()
            places.append(middle - centre[mine[0]].numpy())
            # Lower frequencies recede.
            low = light * (grid[0] < middle[0])
            shift = (grid[1:] * low).sum((1, 2, 3)) / low.sum() - middle[1:]
            said = values[mine[0]].numpy()[[VALUES.index("sin_pa"), VALUES.index("cos_pa")]]
            along.append(shift @ said / max(np.hypot(*shift), 1e-9))
    assert len(places) > 20
    # Lopsided gas moves the middle of the light a little; galaxies at a crop's edge lose some of it.
    assert np.abs(np.median(places, axis=0)).max() < 0.3 and np.median(np.abs(places)) < 0.6
    assert np.median(along) > 0.8


def test_what_is_too_faint_is_in_the_crop_and_no_object(gallery, small_pool):
    limit = float(np.median(gallery.objects.snr))
    snr = [batch[-2] for batch in batches(gallery, least_snr=limit, steps=20).epoch(0)]
    assert all((part >= limit).all() for part in snr)
    told = sum(map(len, snr))
    assert told < sum(len(batch[1 + 1]) for batch in batches(gallery, steps=20).epoch(0))


def test_a_gallery_is_in_units_of_the_noise(gallery):
    peak = np.array([float(stamp.max()) for stamp in gallery.stamps])
    # The best filter gains on the brightest voxel, at most by the root of the voxels.
    ratio = gallery.objects.snr / peak
    assert (ratio > 0.7).all() and (ratio < np.sqrt([stamp.numel() for stamp in gallery.stamps])).all()
    first, rest = gallery.split(10)
    assert len(first) == 10 and len(rest) == 14 and len(first.objects) == 10


def test_the_simulated_sky_is_its_own_inverse():
    sky = SkyGeometry(SKY)
    place = np.array([[3.2, 10.0, 40.1], [60.0, 2.5, 0.0]])
    np.testing.assert_allclose(np.stack(sky.from_sky(*sky.to_sky(*place.T)), axis=1), place, atol=1e-6)
