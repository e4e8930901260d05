import zipfile

import numpy as np
import pytest

from pipeline.data.manifest import default_id, read_manifest
from pipeline.data.settings import InputSettings
from pipeline.errors import UserError

IMAGE = InputSettings(manifest="m.csv", kind="image")


@pytest.fixture
def write(tmp_path):
    """Write manifest text, and an empty file for every name in `files`."""

    def write(text, files=("a.fits", "b.fits", "c.fits", "d.fits"), name="m.csv"):
        for file in files:
            (tmp_path / file).write_bytes(b"x")
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


GOOD = "path,class,ra,dec,group\na.fits,x,10,-5,g1\nb.fits,y,,,g2\n# note\n\nc.fits,x,370,0,g3\nd.fits,y,1,1,\n"


def test_rows_are_read_with_line_numbers_paths_and_defaults(write, tmp_path):
    path = write(GOOD.replace("370", "-10"))
    manifest = read_manifest(path, IMAGE, "class")
    rows = manifest.rows
    assert rows["line"].tolist() == [2, 3, 6, 7]
    assert rows["id"].tolist() == ["a", "b", "c", "d"]
    assert rows["path"].tolist() == [str(tmp_path / f"{name}.fits") for name in "abcd"]
    assert rows["group"].tolist() == ["g1", "g2", "g3", "d"]
    assert manifest.classes == ["x", "y"]
    assert manifest.label.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(rows["ra"], [10, np.nan, 350, 1])
    assert set(rows["row"]) == {None}


def test_all_problems_come_at_once_with_their_rows(write):
    text = (
        "path,class,id,ra,row,sha256,split\n"
        "a.fits,x,one,400,,,train\n"
        "gone.fits,y,one,5,-1,zz,train\n"
        ",x,three,5,1.5,,nowhere\n"
        "b.fits,,,abc,0,,test\n"
        "ftp://host/c.fits,y,five,1,1,,test\n"
    )
    path = write(text)
    with pytest.raises(UserError) as caught:
        read_manifest(path, IMAGE, "class", split_column="split")
    text = str(caught.value)
    for row, part in [
        (2, "not between -180 and 360"),
        (3, "does not exist"),
        (3, 'the id "one" is also that of row 2'),
        (3, "sha256"),
        (3, 'row is "-1"'),
        (4, "has no path"),
        (4, 'row is "1.5"'),
        (4, 'split is "nowhere"'),
        (5, "empty label"),
    ]:
        assert any(f"row {row}:" in line and part in line for line in text.splitlines()), (row, part, text)


def test_what_the_kept_rows_lack_is_reported(write):
    path = write("path,class,id\na.fits,x,\nftp://host/c.fits,y,five\n../a/../b.fits,x,k\n")
    with pytest.raises(UserError, match="empty id") as caught:
        read_manifest(path, IMAGE, "class")
    assert "not http or https" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        ("path,class\n", "has no rows"),
        ("path,class\na.fits\n", "has 1 cells where 2 are expected"),
        ("path,class,class\na.fits,x,y\n", "twice"),
        ("path,clas\na.fits,x\n", 'write "clas"'),
        ("name,class\na.fits,x\n", 'no column "path"'),
        ("path,class\na.fits,x\nb.fits,x\n", "single class"),
        ("path,class\na.fits,x\nb.fits,x\nc.fits,y\n", 'only one object of class "y"'),
        ("path,class,group\na.fits,x,1\nb.fits,x,2\nc.fits,y,3\nd.fits,y,3\n", "all in one group"),
        ('path,class\n"a.fits,x\n', "is not CSV"),
    ],
)
def test_bad_manifests_are_refused(write, text, part):
    path = write(text)
    with pytest.raises(UserError) as caught:
        read_manifest(path, IMAGE, "class")
    assert part in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_absent_manifest_and_a_binary_one_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_manifest(tmp_path / "none.csv", IMAGE, "class")
    with pytest.raises(UserError, match="is a folder"):
        read_manifest(tmp_path, IMAGE, "class")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="not UTF-8"):
        read_manifest(tmp_path / "b.csv", IMAGE, "class")


def test_classes_as_a_list_orders_and_refuses_others(write):
    path = write(GOOD.replace("370", "1"))
    manifest = read_manifest(path, IMAGE, "class", ["y", "x"])
    assert manifest.classes == ["y", "x"]
    assert manifest.label.tolist() == [1, 0, 1, 0]
    with pytest.raises(UserError, match='unknown class "y"'):
        read_manifest(path, IMAGE, "class", ["x", "z"])
    with pytest.raises(UserError, match='no object of class "z"'):
        read_manifest(path, IMAGE, "class", ["x", "y", "z"])


def test_classes_as_a_mapping_merges_and_drops_and_counts(write):
    names = [f"{k}.fits" for k in range(7)]
    text = "path,class\n" + "".join(f"{name},{label}\n" for name, label in zip(names, "aabbcdd", strict=True))
    path = write(text, names)
    manifest = read_manifest(path, IMAGE, "class", {"low": ["a", "b"], "high": ["d"]})
    assert manifest.label.tolist() == [0, 0, 0, 0, 1, 1]
    assert manifest.rows["id"].tolist() == ["0", "1", "2", "3", "5", "6"]
    assert manifest.dropped == {"c": 1}
    with pytest.raises(UserError, match='no row has "q"'):
        read_manifest(path, IMAGE, "class", {"low": ["a", "q"], "high": ["d"]})


def test_several_labels_are_columns_of_zero_and_one(write):
    head = "path,bar,ring\na.fits,1,0\nb.fits,0,1\nc.fits,1,1\n"
    manifest = read_manifest(write(head + "d.fits,0,0\n"), IMAGE, ["bar", "ring"])
    assert manifest.label.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0]]
    assert manifest.label.dtype == np.uint8
    with pytest.raises(UserError, match='has "2" in label column "ring"'):
        read_manifest(write(head + "d.fits,0,2\n"), IMAGE, ["bar", "ring"])


def test_where_keeps_rows_by_value_whatever_the_spelling_of_numbers(write):
    text = "path,class,valid\na.fits,x,1\nb.fits,y,1.0\nc.fits,x,0\nd.fits,y,\nd.fits,x,1\na.fits,y,1\n"
    settings = InputSettings(manifest="m.csv", kind="image", where={"valid": 1})
    with pytest.raises(UserError, match='the id "a" is also that of row 2'):
        read_manifest(write(text), settings, "class")
    rows = read_manifest(write(text.replace("a.fits,y", "c.fits,y")), settings, "class").rows
    assert rows["line"].tolist() == [2, 3, 6, 7]
    with pytest.raises(UserError, match="no row that where lets through"):
        read_manifest(write(text), settings.model_copy(update={"where": {"valid": "7"}}), "class")


def test_members_of_a_zip_archive_are_checked(write, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("p/a.png", "q/a.png", "p/b.png", "q/b.png"):
            archive.writestr(name, b"x")
    head = "file,class\n" + "".join(f"all.zip/{n},{n[0]}\n" for n in ("p/a.png", "q/a.png", "p/b.png", "q/b.png"))
    assert read_manifest(write(head), IMAGE, "class").rows["id"].tolist() == ["p/a", "q/a", "p/b", "q/b"]
    with pytest.raises(UserError, match=r"has no member p/z.png"):
        read_manifest(write(head + "all.zip/p/z.png,p\n"), IMAGE, "class")
    with pytest.raises(UserError, match=r"leaves its folder"):
        read_manifest(write(head + "all.zip/../a.fits,p\n"), IMAGE, "class")
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match="not a readable zip"):
        read_manifest(write(head + "bad.zip/p/z.png,p\n"), IMAGE, "class")


def test_a_manifest_from_elsewhere_may_not_leave_its_folder():
    text = "path,class\n{},x\nb.fits,y\nc.fits,x\nd.fits,y\n"
    for name in ("../secret.fits", "/etc/passwd"):
        with pytest.raises(UserError, match=r"leaves its folder|is absolute"):
            read_manifest("http://host/data/m.csv", IMAGE, "class", content=text.format(name).encode())
    rows = read_manifest("http://host/data/m.csv", IMAGE, "class", content=text.format("a.fits").encode()).rows
    assert rows["path"].tolist() == [f"http://host/data/{name}.fits" for name in "abcd"]


def test_ecsv_equals_csv(write, tmp_path):
    from astropy.table import Table

    plain = read_manifest(write(GOOD.replace("370", "1")), IMAGE, "class")
    Table.read(tmp_path / "m.csv", format="ascii.csv", comment="#").write(tmp_path / "m.ecsv")
    ecsv = read_manifest(tmp_path / "m.ecsv", IMAGE, "class")
    for column in ("id", "path", "group", "ra", "dec"):
        np.testing.assert_array_equal(plain.rows[column].to_numpy(), ecsv.rows[column].to_numpy())
    assert ecsv.label.tolist() == plain.label.tolist()


def test_given_splits_are_read_in_their_usual_spellings(write):
    text = "path,class,part\na.fits,x,train\nb.fits,y,Training\nc.fits,x,valid\nd.fits,y,test\n"
    rows = read_manifest(write(text), IMAGE, "class", split_column="part").rows
    assert rows["split"].tolist() == ["train", "train", "validation", "test"]
    with pytest.raises(UserError, match="puts every row in train"):
        read_manifest(write("path,class,part\na.fits,x,train\nb.fits,y,train\n"), IMAGE, "class", split_column="part")


@pytest.mark.parametrize(
    ("path", "row", "expected"),
    [
        ("dir/J0102.4-55.fits.gz", None, "J0102.4-55"),
        ("s.zip/lib/t010.rbn", None, "lib/t010"),
        ("stack.fits", 3, "stack-3"),
        ("http://h/x/M%2031.fits?v=2", None, "M 31"),
        ("m2.5v.dat", None, "m2.5v"),
        ("m2.5v", None, "m2.5v"),
    ],
)
def test_default_ids(path, row, expected):
    assert default_id(path, row) == expected


def test_thousands_of_problems_end_in_a_count(write):
    text = "path,class\n" + "".join(f"gone{k}.fits,x\n" for k in range(300))
    with pytest.raises(UserError, match="200 more problems") as caught:
        read_manifest(write(text), IMAGE, "class")
    assert len(caught.value.problems) == 101
