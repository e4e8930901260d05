import base64
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from pipeline.errors import UserError
from pipeline.files import read_json
from pipeline.report.classify_section import headline
from pipeline.report.html import Markup, count, duration, join, markup, size_text, table, tag
from pipeline.report.page import write_page

TASKS = ["stars", "images", "cubes", "many"]
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects links, images, ids and text of a page, and insists that elements are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.images, self.ids, self.text, self.tags = [], [], [], [], [], set()

    def handle_starttag(self, name, attributes):
        given = dict(attributes)
        self.tags.add(name)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.images += [given] if name == "img" else []
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_startendtag(self, name, attributes):
        self.tags.add(name)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="session")
def page(finished_run):
    config = "run: results/x  # <b>& 'quotes'</b>\n"
    write_page(finished_run, TASKS, finished_run / "report.html", config)
    return (finished_run / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def test_the_page_holds_all_it_shows(page, read):
    assert "script" not in read.tags and "link" not in read.tags
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "url(" not in page and "@import" not in page
    assert len(read.images) == 8 * len(TASKS)
    for image in read.images:
        head, _, data = image["src"].partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data, validate=True)[:4] == b"\x89PNG"
        assert image["alt"] and int(image["width"]) > 100


def test_links_lead_to_files_beside_it_and_to_its_own_sections(finished_run, read):
    assert len(set(read.ids)) == len(read.ids)
    for link in read.links:
        if link.startswith("#"):
            assert link[1:] in read.ids
        else:
            assert (finished_run / unquote(link)).is_file()
    assert "stars/catalogue.fits" in read.links


def test_text_from_files_is_text(page, read):
    shown = "".join(read.text)
    for text in ("<script>alert(1)</script>", "A & B", "my <survey>", "a <fast> processor", "# <b>& 'quotes'</b>"):
        assert text in shown
    assert "<script" not in page


def test_the_numbers_are_those_of_the_files(finished_run, read):
    shown = "".join(read.text)
    for task in TASKS:
        metrics = read_json(finished_run / task / "metrics.json")
        assert f"{100 * metrics['network']['accuracy']:.1f} %" in shown
        assert f"{metrics['network']['log_loss']:.3f}" in shown
        assert headline(metrics) in shown
    for text in ("12,345", "100.0 M", "1 min 15 s", "stopped early", "not reported", "D-3", "abc"):
        assert text in shown


def test_what_differs_between_tasks_is_said_task_by_task(read):
    shown = "".join(read.text)
    assert "stars1" in shown.replace("\n", "") and "cubes3" in shown.replace("\n", "")


def test_same_files_same_bytes(finished_run, page):
    write_page(finished_run, TASKS, finished_run / "again.html", "run: results/x  # <b>& 'quotes'</b>\n")
    assert (finished_run / "again.html").read_text(encoding="utf-8") == page
    (finished_run / "again.html").unlink()


def test_absent_files_of_all_tasks_are_named(make_task, tmp_path):
    make_task(tmp_path / "run/one", 1)
    with pytest.raises(UserError) as caught:
        write_page(tmp_path / "run", ["one", "two"], tmp_path / "run/report.html", "")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "one/figures/captions.json" in lines[0] and "figures stage" in lines[0]
    assert "two/metrics.json" in lines[1] and "evaluate stage" in lines[1]
    assert not (tmp_path / "run/report.html").exists()


def test_unknown_kind_of_task(make_task, tmp_path):
    folder = make_task(tmp_path / "one", 1)
    metrics = read_json(folder / "metrics.json") | {"kind": "dowse"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match=r'kind "dowse".*known: classify'):
        write_page(tmp_path, ["one"], tmp_path / "report.html", "")


@pytest.mark.parametrize("content", [None, b"not a picture"])
def test_a_figure_that_is_absent_or_damaged(make_task, tmp_path, content):
    folder = make_task(tmp_path / "one", 1)
    (folder / "figures").mkdir()
    entry = {"file": "a.png", "title": "A", "caption": "B."}
    (folder / "figures/captions.json").write_text(json.dumps([entry]))
    if content is not None:
        (folder / "figures/a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png.*figures stage"):
        write_page(tmp_path, ["one"], tmp_path / "report.html", "")


@pytest.mark.parametrize(
    ("network", "baseline", "verdict"),
    [((0.9, 0.85, 0.95), (0.7, 0.6, 0.8), "network is clearly better"),
     ((0.6, 0.5, 0.7), (0.9, 0.8, 0.95), "logistic regression is clearly better"),
     ((0.8, 0.7, 0.9), (0.75, 0.65, 0.85), "cannot tell the two apart")],
)  # fmt: skip
def test_headline_claims_only_what_the_intervals_show(network, baseline, verdict):
    keys = ("accuracy", "accuracy_low", "accuracy_high")
    sides = {"network": dict(zip(keys, network, strict=True)), "baseline": dict(zip(keys, baseline, strict=True))}
    metrics = {"multilabel": False, "split": "test"} | {name: side | {"n": 1234} for name, side in sides.items()}
    assert verdict in headline(metrics)
    assert headline(metrics).startswith("Of 1,234 test objects that the network had never seen, ")
    assert f" {100 * network[0]:.1f} % were given the right class" in headline(metrics)


def test_headline_of_an_empty_set():
    metrics = {"multilabel": False, "split": "test", "network": {"n": 0}, "baseline": {"n": 0}}
    assert "nothing was measured" in headline(metrics)


def test_markup_escapes_once():
    assert markup("<&>") == "&lt;&amp;&gt;"
    assert markup(markup("<")) == "&lt;"
    assert markup(None) == "–"
    assert tag("p", "a<b", Markup("<i>c</i>"), class_='"x"') == '<p class="&quot;x&quot;">a&lt;b<i>c</i></p>'
    assert join(["<", Markup("<br>")], "") == "&lt;<br>"
    assert "<td>&lt;1&gt;</td>" in table(["h"], [["<1>"]])


@pytest.mark.parametrize(
    ("got", "expected"),
    [(duration(2.34), "2.3 s"), (duration(119.6), "2 min 0 s"), (duration(7265), "2 h 1 min"), (duration(None), "–"),
     (count(9999999), "9,999,999"), (count(2.5e7), "25.0 M"), (count(3e10), "30.0 G"),
     (size_text(5), "5 B"), (size_text(1500), "1.5 kB"), (size_text(5e7), "50 MB")],
)  # fmt: skip
def test_numbers_as_a_person_writes_them(got, expected):
    assert got == expected
