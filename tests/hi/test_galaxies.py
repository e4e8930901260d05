"""What is learnt of galaxies: the quantities come back, directions are those on the sky, boxes hold the light."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.wcs import WCS

from pipeline.detect.head import Layout
from pipeline.detect.symmetry import symmetries
from pipeline.hi.galaxies import NAMES, VALUES, effective_snr, from_values, to_objects
from pipeline.hi.task_settings import HiDetectorSettings
from pipeline.score.sdc2 import LIGHT_KM_S, REST_HZ, Sdc2, score_sdc2
from pipeline.sky.geometry import pixel_to_sky, sky_to_pixel
from pipeline.sky.headers import Beam

SHAPE = (400, 120, 100)
PIXEL = 2.8
NORTH_UP = ((-1.0, 0.0), (0.0, 1.0))
WAYS = {
    "north up": NORTH_UP,
    "mirrored": ((1.0, 0.0), (0.0, 1.0)),
    "turned": ((-np.cos(0.6), np.sin(0.6)), (np.sin(0.6), np.cos(0.6))),
    "oblong": ((-1.0, 0.0), (0.0, 0.5)),
}


@dataclass
class Cube:
    """A cube without pixels, its channels from `lowest` on."""

    matrix: tuple = NORTH_UP
    beam: Beam = field(default_factory=lambda: Beam(7 / 3600, 7 / 3600))
    channel: float = 3e4
    lowest: float = 1.034e9
    rest_hz: float = REST_HZ

    def __post_init__(self):
        self.wcs = WCS(naxis=2)
        self.wcs.wcs.ctype, self.wcs.wcs.crval = ["RA---SIN", "DEC--SIN"], [180.0, -30.0]
        self.wcs.wcs.crpix = [(SHAPE[2] + 1) / 2, (SHAPE[1] + 1) / 2]
        self.wcs.wcs.cd = np.array(self.matrix) * PIXEL / 3600
        self.channel_hz = np.full(SHAPE[0], self.channel)

    def to_sky(self, z, y, x):
        return (*pixel_to_sky(self.wcs, x, y), self.lowest + z * self.channel)

    def from_sky(self, ra, dec, frequency):
        x, y = sky_to_pixel(self.wcs, ra, dec)
        return (frequency - self.lowest) / self.channel, y, x


def rms_at(centre):
    return 2e-5 * (1 + centre[:, 0] / 1000)


def truth_of(cube, count=40, seed=0, **columns):
    random = np.random.default_rng(seed)
    centre = random.uniform(0.1, 0.9, (count, 3)) * SHAPE
    ra, dec, frequency = cube.to_sky(*centre.T)
    table = {
        "id": np.arange(count),
        "ra": ra,
        "dec": dec,
        "hi_size": random.uniform(1.2, 40, count),
        "line_flux_integral": np.exp(random.uniform(0.3, 6, count)),
        "central_freq": frequency,
        "pa": random.uniform(0, 360, count),
        "i": random.uniform(1, 89, count),
        "w20": random.uniform(30, 800, count),
    }
    return pd.DataFrame(table | columns)


@pytest.mark.parametrize("way", WAYS)
def test_the_quantities_come_back(way):
    cube = Cube(WAYS[way], Beam(9 / 3600, 6 / 3600, 20.0))
    truth = truth_of(cube)
    objects = to_objects(truth, cube, rms_at)
    told = from_values(objects.values, objects.centre, rms_at(objects.centre), cube)
    assert set(told) == {"line_flux_integral", "hi_size", "w20", "pa", "i"}
    for name, found in told.items():
        np.testing.assert_allclose(found, truth[name], rtol=1e-6, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(objects.row, np.arange(len(truth)))


def test_the_truth_that_comes_back_scores_one_a_galaxy():
    cube = Cube()
    truth = truth_of(cube)
    objects = to_objects(truth, cube, rms_at)
    ra, dec, frequency = cube.to_sky(*objects.centre.T)
    told = from_values(objects.values, objects.centre, rms_at(objects.centre), cube)
    again = pd.DataFrame({"id": truth["id"], "ra": ra, "dec": dec, "central_freq": frequency, **told})
    assert score_sdc2(again[list(Sdc2.names())], truth[list(Sdc2.names())]).score == pytest.approx(len(truth))


@pytest.mark.parametrize("way", WAYS)
def test_the_direction_is_where_the_receding_side_lies_on_the_sky(way):
    cube = Cube(WAYS[way])
    truth = truth_of(cube)
    objects = to_objects(truth, cube, rms_at)
    x, y = objects.centre[:, 2], objects.centre[:, 1]
    along_x, along_y = objects.values[:, [VALUES.index("cos_pa"), VALUES.index("sin_pa")]].T
    np.testing.assert_allclose(np.hypot(along_x, along_y), 1)
    ra, dec = pixel_to_sky(cube.wcs, x + along_x, y + along_y)
    east = (ra - truth["ra"]) * np.cos(np.radians(truth["dec"]))
    angle = np.degrees(np.arctan2(east, dec - truth["dec"])) - truth["pa"]
    np.testing.assert_allclose((angle + 180) % 360 - 180, 0, atol=0.05)


def test_north_up_and_east_left_the_angle_is_90_more_than_the_position_angle():
    cube = Cube()
    truth = truth_of(cube, 4, ra=180.0, dec=-30.0, pa=[0.0, 90.0, 180.0, 270.0])
    along = to_objects(truth, cube, rms_at).values[:, 3:5]
    np.testing.assert_allclose(along, [[0, 1], [-1, 0], [0, -1], [1, 0]], atol=1e-6)


def test_fluxes_sizes_and_widths_are_in_units_of_what_was_measured():
    cube = Cube(beam=Beam(9 / 3600, 4 / 3600), channel=2e4)
    truth = truth_of(cube)
    values = to_objects(truth, cube, rms_at).values
    frequency = truth["central_freq"]
    rms = rms_at(np.stack(cube.from_sky(truth["ra"], truth["dec"], frequency), 1))
    np.testing.assert_allclose(np.exp(values[:, 0]), truth["line_flux_integral"] / (rms * 2e4))
    np.testing.assert_allclose(np.exp(values[:, 1]), truth["hi_size"] / 6)
    width = truth["w20"] * frequency**2 / (LIGHT_KM_S * REST_HZ) / 2e4
    np.testing.assert_allclose(np.exp(values[:, 2]), width)
    np.testing.assert_allclose(values[:, 5], np.cos(np.radians(truth["i"])))


def test_the_width_of_the_channel_is_that_at_the_galaxy():
    cube = Cube()
    cube.channel_hz = np.linspace(2e4, 4e4, SHAPE[0])
    truth = truth_of(cube, 3, central_freq=cube.lowest + np.array([-50.0, 100.0, 1000.0]) * cube.channel)
    found = np.exp(to_objects(truth, cube, rms_at).values[:, 2])
    hertz = truth["w20"] * truth["central_freq"] ** 2 / (LIGHT_KM_S * REST_HZ)
    np.testing.assert_allclose(hertz / found, cube.channel_hz[[0, 100, -1]])


def test_the_box_holds_the_smeared_ellipse_and_the_line():
    cube = Cube()
    edge_on = truth_of(cube, 3, ra=180.0, dec=-30.0, hi_size=28.0, i=90.0, w20=200.0, pa=[0.0, 90.0, 45.0])
    size = to_objects(edge_on, cube, rms_at).size
    long, short = np.hypot(28, 7) / PIXEL, 7 / PIXEL
    even = np.sqrt((long**2 + short**2) / 2)
    np.testing.assert_allclose(size[:, 1:] - 4, [[long, short], [short, long], [even, even]], rtol=1e-5)
    width = 200 * edge_on["central_freq"] ** 2 / (LIGHT_KM_S * REST_HZ) / cube.channel
    np.testing.assert_allclose(size[:, 0], width + 10)


def test_the_signal_to_noise_ratio_has_its_limits():
    one = np.ones(1)
    # A point in one channel, or less, is the flux over the rms; a wide face-on disc fills its area in beams.
    assert effective_snr(7 * one, 0 * one, 0.3 * one, one) == 7
    assert effective_snr(7 * one, 0 * one, 49 * one, one) == pytest.approx(1)
    assert effective_snr(100 * one, 100 * one, one, one) == pytest.approx(1, rel=1e-3)
    assert effective_snr(100 * one, 1e4 * one, one, 0 * one) == pytest.approx(1, rel=1e-3)
    cube = Cube()
    truth = truth_of(cube, 5)
    assert (to_objects(truth, cube, rms_at).snr != truth["id"] + 1.5).all()
    np.testing.assert_array_equal(to_objects(truth.assign(snr=truth["id"] + 1.5), cube, rms_at).snr, truth["id"] + 1.5)


def test_galaxies_outside_the_cube_or_without_extent_are_no_error():
    cube = Cube()
    truth = truth_of(cube, 4, ra=[180.0, 180.0, 0.0, 180.0], dec=[-30.0, -30.0, 30.0, -31.0], hi_size=0.0, w20=0.0)
    objects = to_objects(truth, cube, rms_at)
    assert len(objects) == 4
    seen = np.isfinite(objects.centre).all(1)
    assert seen.tolist() == [True, True, False, True]
    assert np.isfinite(objects.values[seen]).all()
    assert (objects.size > 0).all()
    none = to_objects(truth[:0], cube, rms_at)
    assert none.size.shape == (0, 3)
    assert all(part.shape == (0,) for part in from_values(none.values, none.centre, np.zeros(0), cube).values())


def test_what_a_network_says_need_not_be_possible():
    cube = Cube()
    values = np.array([[1.0, 0.0, 2.0, 3.0, 3.0, 1.4], [1.0, 0.0, 2.0, -0.1, 0.1, -0.3]])
    told = from_values(values, np.full((2, 3), 50.0), np.full(2, 1e-5), cube)
    np.testing.assert_allclose(told["pa"], [315, 45], atol=0.01)
    np.testing.assert_allclose(told["i"], [0, 90])


def test_a_layout_of_galaxies_turns_with_the_cube():
    cube = Cube()
    objects = to_objects(truth_of(cube), cube, rms_at)
    layout = Layout.of(objects, VALUES, NAMES.classes, (4, 4, 4))
    assert layout.channels == 1 + 3 + 3 + 6 + 9
    raw = torch.randn(layout.channels, 3, 4, 5)
    for turn in symmetries(3):
        torch.testing.assert_close(layout.turn(layout.turn(raw, turn), turn.inverse), raw)
    settings = HiDetectorSettings()
    assert set(settings.loss.means) < set(VALUES)
    assert all(len(part) == 3 for part in (settings.objects.margin, settings.objects.share, settings.crop))
