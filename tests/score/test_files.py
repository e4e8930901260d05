"""Tables of every format give one score; each trap of the official scorers is refused with a sentence."""

import gzip
import json

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.table import QTable

from pipeline.errors import UserError
from pipeline.files import write_json
from pipeline.score.definition import CHALLENGES, challenge
from pipeline.score.files import score_files
from pipeline.score.sdc1 import Sdc1
from pipeline.score.sdc2 import Sdc2
from pipeline.score.tables import read_table
from pipeline.score.validate import EmptyCatalogueWarning, NoMatchWarning, RepeatedTruthWarning
from pipeline.score.write import write_sdc1, write_sdc2
from pipeline.sky.catalogue import write_catalogue

FLEMING = {
    "flux": "flux_jy", "b_maj": "b_maj_arcsec", "b_min": "b_min_arcsec", "pa": "pa_deg", "size": "size_class",
    "class": "source_class",
}  # fmt: skip
UNITS = {"ra_core": u.deg, "flux": u.Jy, "b_maj": u.arcsec, "pa": u.deg}


class Folder:
    """A submission and a truth of a challenge as files, and the score of them."""

    def __init__(self, path, kind, submission, truth):
        self.path, self.kind, self.submission, self.truth = path, kind, submission, truth
        self.write("truth.txt", truth)
        self.write("submission.txt", submission)

    def write(self, name, table, header=True, sep=" "):
        (self.path / name).write_text(table.to_csv(sep=sep, index=False, header=header, na_rep="nan"))
        return self.path / name

    def score(self, catalogue="submission.txt", truth="truth.txt", **settings):
        if self.kind == "sdc1":
            settings = {"frequency": 560, **settings}
        return score_files(self.kind, self.path / truth, self.path / catalogue, **settings)

    def refused(self, *words, catalogue="submission.txt", truth="truth.txt"):
        with pytest.raises(UserError) as caught:
            self.score(catalogue, truth)
        lines = str(caught.value).splitlines()
        for word in words:
            assert word in str(caught.value)
        for line in lines:
            assert line.count("; ") == 1, line
            assert line.startswith(str(self.path)), line
        return lines

    def refuse_values(self, *words, **columns):
        self.write("bad.txt", self.submission.assign(**columns))
        return self.refused(*words, catalogue="bad.txt")


@pytest.fixture
def one(tmp_path, sdc1_pair):
    (tmp_path / "one").mkdir()
    return Folder(tmp_path / "one", "sdc1", *sdc1_pair)


@pytest.fixture
def two(tmp_path, sdc2_pair):
    (tmp_path / "two").mkdir()
    return Folder(tmp_path / "two", "sdc2", *sdc2_pair)


def row(table, name, position, value):
    values = table[name].astype(object).copy()
    values.iloc[position] = value
    return values


def test_the_result_is_ready_for_json(one):
    found = one.score()
    write_json(one.path / "score.json", found)
    back = json.loads((one.path / "score.json").read_text())
    assert back["score"] == found["score"]
    assert back["completeness"] == pytest.approx(back["n_match"] / back["n_truth"])
    assert back["purity"] == pytest.approx(back["n_match"] / back["n_det"])
    assert back["settings"] == {
        "freq": 560, "mode": 0, "mode_name": "core", "area": "all", "train": None, "official": False
    }  # fmt: skip
    assert back["pa_error_deg"]["n"] == back["n_match"]
    assert not {"scale", "matches"} & set(back)


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".vot", ".csv", ".csv.gz"])
@pytest.mark.parametrize("names", [{}, FLEMING], ids=["official", "fleming"])
def test_every_format_gives_the_same_score(one, suffix, names):
    for name, table in (("submission", one.submission), ("truth", one.truth)):
        columns = table.rename(columns=names).assign(extra=1.0)
        path = one.path / (name + suffix)
        write_catalogue(
            QTable.from_pandas(columns[columns.columns[::-1]]), one.path / (name + suffix.removesuffix(".gz"))
        )
        if suffix == ".csv.gz":
            path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    assert one.score("submission" + suffix, "truth" + suffix)["score"] == pytest.approx(one.score()["score"], abs=1e-9)


def test_units_are_converted(one):
    table = QTable({name: one.submission[name].to_numpy() * UNITS.get(name, 1) for name in one.submission})
    table["flux"], table["ra_core"] = table["flux"].to(u.mJy), table["ra_core"].to(u.arcmin)
    write_catalogue(table, one.path / "milli.fits")
    assert one.score("milli.fits")["score"] == pytest.approx(one.score()["score"], abs=1e-9)
    table["flux"] = one.submission["flux"].to_numpy() * u.Jy / u.beam
    write_catalogue(table, one.path / "peak.fits")
    one.refused('"flux" is in Jy / beam', "give it in Jy", catalogue="peak.fits")


@pytest.mark.parametrize("pack", [False, True])
def test_official_truth_files_have_prose_and_three_more_columns(one, pack):
    prose = "".join(f"COLUMN {number}: word\n" for number in range(15)) + "\nunits deg Jy arcsec\n\n"
    rows = one.truth.assign(selection=1, x=5.5, y=6.5).to_csv(sep=" ", index=False, header=False)
    content = (prose + rows.replace(" ", "    ")).encode()
    name = "training.txt.gz" if pack else "training.txt"
    (one.path / name).write_bytes(gzip.compress(content) if pack else content)
    assert one.score(truth=name)["score"] == pytest.approx(one.score()["score"], abs=1e-9)
    one.refused("has 15 columns, not the 12 of sdc1", catalogue=name)


def test_a_file_without_header_keeps_its_first_source(one):
    one.write("bare.txt", one.submission, header=False)
    assert one.score("bare.txt")["n_det"] == len(one.submission)
    assert one.score("bare.txt")["score"] == one.score()["score"]


def test_positions_may_come_once(one):
    table = one.truth.drop(columns=["ra_core", "dec_core"]).rename(columns={"ra_cent": "ra", "dec_cent": "dec"})
    one.write("once.csv", table, sep=",")
    found = read_table(one.path / "once.csv", Sdc1)
    assert list(found) == Sdc1.names()
    for name in ("ra_core", "ra_cent"):
        np.testing.assert_allclose(found[name], one.truth["ra_cent"], rtol=1e-14)


def test_ids_may_be_text_in_our_catalogues(one):
    one.write("named.csv", one.submission.assign(id=[f"J{number}" for number in one.submission["id"]]), sep=",")
    assert one.score("named.csv")["score"] == pytest.approx(one.score()["score"], abs=1e-9)


@pytest.mark.parametrize("kind, write", [("sdc1", write_sdc1), ("sdc2", write_sdc2)])
def test_submissions_come_back_as_they_were_written(kind, write, tmp_path, sdc1_pair, sdc2_pair):
    table = {"sdc1": sdc1_pair, "sdc2": sdc2_pair}[kind][0]
    write(table[table.columns[::-1]].assign(note="x"), tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text().splitlines()[0].split() == CHALLENGES[kind].names()
    back = read_table(tmp_path / "out.txt", CHALLENGES[kind])
    for name in table:
        np.testing.assert_allclose(back[name], table[name], rtol=1e-11, atol=0)
    exact = pd.read_csv(tmp_path / "out.txt", sep=" ", float_precision="round_trip")
    for name in table:
        np.testing.assert_array_equal(exact[name], table[name])


def test_written_submissions_number_ids_that_are_text(tmp_path, sdc1_pair):
    write_sdc1(sdc1_pair[0].assign(id="J1"), tmp_path / "out.txt")
    assert list(read_table(tmp_path / "out.txt", Sdc1)["id"]) == list(range(1, len(sdc1_pair[0]) + 1))


def test_an_empty_submission_can_be_written_and_scored(one):
    write_sdc1(one.submission.iloc[:0], one.path / "none.txt")
    for official in (False, True):
        with pytest.warns(EmptyCatalogueWarning, match="none.txt: holds no detection; its score is 0."):
            found = one.score("none.txt", official=official)
        assert (found["score"], found["n_det"], found["n_truth"]) == (0, 0, len(one.truth))
    empty = read_table(one.path / "none.txt", Sdc1)
    assert list(empty) == Sdc1.names()
    assert all(kind.kind in "if" for kind in empty.dtypes)


@pytest.mark.parametrize("change", [{"size": 4}, {"class": np.nan}])
def test_codes_that_do_not_exist_are_not_written(tmp_path, sdc1_pair, change):
    with pytest.raises(UserError, match="has other values than 1, 2, 3"):
        write_sdc1(sdc1_pair[0].assign(**change), tmp_path / "out.txt")
    assert not list(tmp_path.iterdir())


def test_a_table_that_lacks_a_column_is_not_written(tmp_path, sdc2_pair):
    with pytest.raises(UserError, match="has no column w20; give the columns of sdc2"):
        write_sdc2(sdc2_pair[0].drop(columns="w20"), tmp_path / "out.txt")


def test_columns_in_another_order_under_a_header_are_refused(one, two):
    for folder, words in ((one, 'column 1 is named "ra_core" where sdc1 takes id'), (two, "header line is not the")):
        table = folder.submission
        folder.write("order.txt", table[[*table.columns[1:], "id"]])
        folder.refused(words, catalogue="order.txt")


def test_columns_in_another_order_without_header_are_refused(one):
    names = list(one.submission)
    one.write("last.txt", one.submission[[*names[1:], "id"]], header=False)
    one.refused("in class, which is none of 1, 2, 3", "order of the columns", catalogue="last.txt")
    swapped = [names[at] for at in (0, 1, 3, 2, 4, *range(5, 12))]
    one.write("mixed.txt", one.submission[swapped], header=False)
    one.refused("core and centroid are", "degrees apart", catalogue="mixed.txt")
    one.write("axes.txt", one.submission.assign(b_maj=1.0, b_min=2.0), header=False)
    one.refused("b_min is larger than b_maj in every row", catalogue="axes.txt")


def test_a_missing_column_is_named(one, two):
    for folder, name in ((one, "flux"), (two, "w20")):
        folder.write("missing.txt", folder.submission.drop(columns=name))
        folder.refused(f"has no column {name}", catalogue="missing.txt")


def test_a_further_column_is_refused_in_a_submission(one):
    one.write("more.txt", one.submission.assign(note=1.0))
    one.refused("has 13 columns, not the 12 of sdc1", catalogue="more.txt")


def test_sdc2_needs_its_header(two):
    two.write("bare.txt", two.submission, header=False)
    two.refused("no header line with the column names", catalogue="bare.txt")
    two.write("renamed.txt", two.submission.rename(columns={"i": "incl"}))
    two.refused("header line is not the official one", catalogue="renamed.txt")


@pytest.mark.parametrize("name", ["once.txt", "once.csv"])
def test_text_among_numbers_names_its_row(one, name):
    table = one.submission.assign(pa=row(one.submission, "pa", 2, "abc"))
    one.write(name, table, sep="," if name.endswith("csv") else " ")
    assert one.refused(f'row 3 (id {one.submission["id"][2]}): has "abc" in pa; write a number.', catalogue=name)


def test_missing_values_are_refused_but_dropped_officially(one):
    table = one.submission.assign(flux=row(one.submission, "flux", 4, np.nan))
    one.write("nan.txt", table)
    one.refused("row 5 (id 4): has nan in flux", catalogue="nan.txt")
    assert one.score("nan.txt", official=True)["n_det"] == len(table) - 1


def test_a_submission_of_missing_values_is_no_silent_zero(one):
    one.write("nan.txt", one.submission.assign(flux=np.nan))
    with pytest.warns(NoMatchWarning, match="none of its 60 rows counts as a detection"):
        assert one.score("nan.txt", official=True)["n_det"] == 0


def test_a_repeated_id_is_refused(one):
    one.refuse_values("row 8 (id 3): has the id of an earlier row", id=row(one.submission, "id", 7, 3))


def test_a_repeated_id_in_the_truth_is_warned_of(one):
    one.write("twice.txt", one.truth.assign(id=row(one.truth, "id", 1, one.truth["id"][0])))
    with pytest.warns(RepeatedTruthWarning, match="row 2 .*has the id of an earlier row"):
        one.score(truth="twice.txt")


@pytest.mark.parametrize("name", ["flux", "core_frac", "b_maj", "b_min"])
def test_negative_measures_are_refused_but_cleaned_officially(one, name):
    table = one.submission.assign(**{name: row(one.submission, name, 9, -0.5)})
    table[name] = table[name].astype(float)
    table.loc[11, name] = 0.0
    one.write("negative.txt", table)
    one.refused(f"row 10 (id 9): has -0.5 in {name}, which is negative", catalogue="negative.txt")
    assert one.score("negative.txt", official=True)["n_det"] == len(table) - 2


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("dec_core", 95.0, "outside -90 to 90"),
        ("ra_cent", 400.0, "outside -180 to 360"),
        ("size", 0, "none of 1, 2, 3"),
        ("class", 2.5, "none of 1, 2, 3"),
        ("flux", np.inf, "which is not a number"),
    ],
)
def test_impossible_values_are_refused(one, name, value, words):
    one.refuse_values(f"row 2 (id 1): has {value:g} in {name}", words, **{name: row(one.submission, name, 1, value)})


def test_all_problems_of_both_tables_come_at_once(one):
    one.write("bad.txt", one.submission.assign(pa=np.nan, size=7))
    one.write("worse.txt", one.truth.assign(flux=-1.0))
    lines = one.refused("bad.txt", "worse.txt", "as have 59 further rows", catalogue="bad.txt", truth="worse.txt")
    assert len(lines) == 3


@pytest.mark.parametrize("factor", [1e3, 1e-3])
def test_fluxes_in_another_unit_are_refused(one, two, factor):
    for folder, name in ((one, "flux"), (two, "line_flux_integral")):
        folder.refuse_values("times those of the truth", "give " + name, **{name: folder.submission[name] * factor})


def test_two_fluxes_above_every_true_one_are_refused(one):
    one.write("two.txt", one.truth.iloc[:2].assign(flux=one.truth["flux"].max() * 150))
    one.refused("all of its fluxes are above", "give flux in Jy", catalogue="two.txt")
    with pytest.warns(NoMatchWarning):
        assert one.score("two.txt", official=True)["score"] == 0


@pytest.mark.parametrize("factor", [1e-6, 1e-9])
def test_frequencies_in_other_units_are_refused(two, factor):
    values = two.submission["central_freq"] * factor
    two.refuse_values("in central_freq, outside 1e+08 to 1e+10", "not in MHz or GHz", central_freq=values)


def test_line_widths_in_metres_are_refused(two):
    two.refuse_values("in w20, above 10000", "not in m/s", w20=two.submission["w20"] * 1e3)


def test_detections_elsewhere_are_no_silent_zero(one):
    one.write("far.txt", one.submission.assign(dec_core=-20.0, dec_cent=-20.0))
    with pytest.warns(NoMatchWarning, match="far.txt: none of its 60 detections matches one of the 60 truth sources"):
        one.score("far.txt")
    with pytest.warns(NoMatchWarning, match="none of its 60 rows counts"):
        one.score(area="train")


def test_zero_sizes_are_fine_in_the_truth(one):
    one.write("points.txt", one.truth.assign(b_maj=0.0, b_min=0.0))
    assert one.score(truth="points.txt")["n_match"] > 0


@pytest.mark.parametrize(
    "content, words",
    [
        ("", "is empty"),
        ("1 2 3 4 5 6 7 8 9 10 1 1\n" + "1 " * 20 + "\n", "line 2 has 20 values, not 12"),
        ("1 2 3 4 5 6 7 8 9 10 1 1\n2 2 3 4 5\n", "row 2 (id 2): has nan in class"),
        ("SIMPLE  =  T\0\0", "is not a text table"),
        ("a page\n" * 2000, "holds no row of numbers"),
        ("words only\n", "has 2 columns, not the 12 of sdc1"),
    ],
)
def test_files_that_are_no_tables_are_refused(one, content, words):
    (one.path / "odd.txt").write_text(content)
    one.refused(words, catalogue="odd.txt")


def test_a_damaged_file_is_refused(one):
    packed = gzip.compress((one.path / "submission.txt").read_bytes())
    (one.path / "cut.txt.gz").write_bytes(packed[: len(packed) // 2])
    one.refused("cannot be read to its end", catalogue="cut.txt.gz")
    one.refused("does not exist", catalogue="absent.txt")


def test_a_truth_without_sources_is_refused(one):
    one.write("blank.txt", one.truth.iloc[:0])
    one.refused("blank.txt: holds no source", truth="blank.txt")


def test_challenges_are_chosen_by_name():
    assert challenge("sdc2") == Sdc2()
    assert challenge("sdc1", frequency=1400, area="train") == Sdc1(1400, "core", "train")
    with pytest.raises(UserError, match='"sdc9" is not known; give one of sdc1, sdc2'):
        challenge("sdc9")
