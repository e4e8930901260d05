"""Truth tables: what they cover, what of their flux an image shows, and what is wrong with bad ones."""

import numpy as np
import pytest

from pipeline.detect.continuum import pixel_ellipse, smear
from pipeline.detect.image import ContinuumImage, MemoryReader
from pipeline.detect.labelled import area_of
from pipeline.detect.task_settings import LabelledFrame
from pipeline.detect.truth import covered, read_truth, response
from pipeline.errors import UserError
from pipeline.score.validate import RepeatedTruthWarning
from pipeline.sky.geometry import pixel_to_sky

SHAPE = (240, 260)


def shown(memory, factor):
    """An image in which each of 36 bright, lonely sources has this share of its flux."""
    image = memory.image_of(SHAPE)
    y, x = (part.ravel() + 0.3 for part in np.meshgrid(np.arange(20, 240, 40), np.arange(20, 260, 40), indexing="ij"))
    truth = memory.truth_of(image, x, y, b_maj=2.0, b_min=1.0, flux=1e-3)
    objects = image.objects(truth)
    data = np.random.default_rng(0).normal(0, 1e-5, SHAPE)
    for at in range(len(x)):
        squares = smear(*pixel_ellipse(objects.values[at], image.beam), memory.beam)
        data += factor * 1e-5 * objects.snr[at] * memory.gaussian(SHAPE, y[at], x[at], squares)
    reader = MemoryReader(data.astype(np.float32), image.reader.wcs, image.reader.beam, "memory")
    return ContinuumImage(reader, image.background), truth


@pytest.mark.parametrize("factor", [1.0, 0.8])
def test_the_response_is_the_factor_that_was_applied(memory, factor):
    assert response(*shown(memory, factor)) == pytest.approx(factor, rel=0.05)


def test_blanked_sources_do_not_tell_the_response(memory):
    image, truth = shown(memory, 0.8)
    centre = np.rint(image.objects(truth).centre).astype(int)
    image.reader.data[tuple(centre[:5].T)] = np.nan
    assert response(image, truth) == pytest.approx(0.8, rel=0.05)
    image.reader.data[:] = np.nan
    assert response(image, truth) == 1.0


def test_few_sources_do_not_tell_the_response(memory):
    image, truth = shown(memory, 0.5)
    assert response(image, truth[:15]) == 1.0
    image, truth = shown(memory, 1e-3)
    assert response(image, truth.assign(flux=truth["flux"] / 1000)) == 1.0


def test_faint_truths_of_bright_sources_are_refused(memory):
    image, truth = shown(memory, 0.5)
    with pytest.raises(UserError, match="its fluxes are not those"):
        response(image, truth.assign(flux=truth["flux"] / 1000))


def test_the_covered_section_is_the_smallest_that_holds_the_sources(memory):
    image = memory.image_of((90, 120))
    truth = memory.truth_of(image, [10.2, 99.7, 50.0, -40.0], [30.4, 20.6, 77.5, 500.0])
    assert covered(image, truth, "t") == (slice(21, 79), slice(10, 101))
    assert covered(image, truth[:1], "t") == (slice(30, 31), slice(10, 11))
    assert covered(image, memory.truth_of(image, [-0.4, 119.4], [-0.4, 89.4]), "t") == (slice(0, 90), slice(0, 120))


def test_a_truth_of_other_sky_is_refused(memory):
    image = memory.image_of((90, 120))
    with pytest.raises(UserError, match="truth.csv: has no source inside memory; give the truth of this part"):
        covered(image, memory.truth_of(image, [-40.0], [500.0]), "truth.csv")


OFFICIAL = {
    "flux": "flux_jy",
    "b_maj": "b_maj_arcsec",
    "b_min": "b_min_arcsec",
    "pa": "pa_deg",
    "size": "size_class",
    "class": "source_class",
}


def table_of(memory, count=6):
    image = memory.image_of()
    return memory.truth_of(image, np.linspace(5, 115, count), np.full(count, 40.0)).rename(columns=OFFICIAL)


def test_a_table_comes_back(memory, tmp_path):
    table_of(memory).to_csv(tmp_path / "truth.csv", index=False)
    found = read_truth(tmp_path / "truth.csv")
    expected = table_of(memory).rename(columns={new: old for old, new in OFFICIAL.items()})
    for name in ("ra_cent", "dec_cent", "flux", "b_maj", "b_min", "pa"):
        np.testing.assert_allclose(found[name], expected[name])


BAD = {
    "a flux that is no number": (lambda t: t.assign(flux_jy=[np.nan, *t["flux_jy"][1:]]), "flux"),
    "a negative size": (lambda t: t.assign(b_maj_arcsec=[-1.0, *t["b_maj_arcsec"][1:]]), "b_maj"),
    "a position off the sky": (lambda t: t.assign(dec_cent=[95.0, *t["dec_cent"][1:]]), "dec_cent"),
    "a class that is none": (lambda t: t.assign(source_class=[7, *t["source_class"][1:]]), "class"),
    "a missing column": (lambda t: t.drop(columns="flux_jy"), "flux"),
    "no row": (lambda t: t[:0], "source"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_refused(memory, tmp_path, name):
    change, word = BAD[name]
    change(table_of(memory)).to_csv(tmp_path / "truth.csv", index=False)
    with pytest.raises(UserError, match=word) as caught:
        read_truth(tmp_path / "truth.csv")
    assert all(str(problem).startswith(str(tmp_path / "truth.csv")) for problem in caught.value.problems)


def test_ids_that_repeat_are_told(memory, tmp_path):
    table_of(memory).assign(id=1).to_csv(tmp_path / "truth.csv", index=False)
    with pytest.warns(RepeatedTruthWarning, match="id of an earlier row"):
        read_truth(tmp_path / "truth.csv")


def test_a_labelled_area_is_what_the_region_holds(sky):
    x, y = np.array([200.0, 60.0]), np.array([100.0, 250.0])
    ra, dec = pixel_to_sky(sky.image.reader.wcs, x, y)
    names = {"image": str(sky.folder / "field.fits"), "truth": str(sky.folder / "truth.csv")}
    box = (float(ra[0]), float(ra[1]), float(dec[0]), float(dec[1]))
    area = area_of(LabelledFrame(**names, region=box))
    rows, columns = area.section
    assert 95 <= rows.start <= 115 and 235 <= rows.stop <= 255
    assert 55 <= columns.start <= 75 and 190 <= columns.stop <= 205
    assert 0 < len(area.truth) < len(sky.truth)
    objects = area.image.objects(area.truth)
    assert (objects.centre >= [rows.start - 0.5, columns.start - 0.5]).all()
    assert (objects.centre < [rows.stop - 0.5, columns.stop - 0.5]).all()
    whole = area_of(LabelledFrame(**names))
    assert len(whole.truth) == len(sky.truth)
    with pytest.raises(UserError, match="has no source in the region"):
        area_of(LabelledFrame(**names, region=(90.0, 91.0, 10.0, 11.0)))
    with pytest.raises(UserError, match="field.fits: has exclude"):
        area_of(LabelledFrame(**names, exclude=box))
