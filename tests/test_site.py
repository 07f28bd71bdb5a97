"""The page stands alone: every link leads to a file, every table and figure is on it."""

import json
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from prismlib import paths
from prismlib.report.artefacts import Report
from prismlib.report.claims import COLUMNS
from prismlib.report.site import read_table, show, write_site


class Reader(HTMLParser):
    """Collects links, text and tags, and complains about tags that do not close."""

    VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[dict] = []
        self.text: list[str] = []
        self.ids: list[str] = []
        self.stack: list[str] = []
        self.feed(html)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "img":
            self.images.append(values)
        self.links += [values[key] for key in ("href", "src") if key in values]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    return paths.figures("quick")


def make(simulated: bool = True) -> None:
    report = Report.open("04_device_removal", "quick", 3)
    frame = pd.DataFrame({"method": ["a & <b>"], "l1": [0.123456], "paper_l1": [0.031]})
    report.save_table(frame, "table_2", simulated, caption="Devices leave.")
    fig = Figure(figsize=(1, 1))
    report.save_figure(fig, "fig_3", simulated, caption="Before and after.")


def write_claims(folder, **values) -> None:
    row = dict.fromkeys(COLUMNS) | {"claim_id": "c1", "verdict": "exact", "domain": "label_table"}
    pd.DataFrame([row | values]).to_csv(folder / "claims.csv", index=False)


def test_every_link_leads_somewhere_and_none_to_the_network(folder):
    make()
    write_claims(folder)
    paths.runs("quick").mkdir(parents=True)
    (paths.runs("quick") / "04_device_removal.ipynb").write_text("{}")
    page = Reader(write_site("quick").read_text())
    assert "../../runs/quick/04_device_removal.ipynb" in page.links
    for link in page.links:
        assert "://" not in link and not link.startswith("/")
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert (folder / link).is_file(), link
    assert {"fig_3.png", "fig_3.pdf", "fig_3.json", "table_2.csv", "table_2.json"} <= set(
        page.links
    )


def test_claims_come_first_and_text_is_escaped(folder):
    make()
    write_claims(folder, statement="x < y", verdict="contradicted", our_value=0.5, paper_value=0.4)
    html = write_site("quick").read_text()
    page = Reader(html)
    assert page.words.index("x < y") < page.words.index("a & <b>")
    assert "<b>" not in html
    assert 'class="verdict contradicted"' in html


def test_pictures_have_words(folder):
    make()
    page = Reader(write_site("quick").read_text())
    assert [image["alt"] for image in page.images] == ["Before and after."]


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_is_on_the_face_exactly_where_it_is(folder, simulated):
    make(simulated)
    html = write_site("quick").read_text()
    assert ('class="banner"' in html) == simulated
    assert html.count('<span class="tag">SIMULATED</span>') == (3 if simulated else 0)


def test_a_page_without_run_or_claims_says_so(folder):
    make()
    words = Reader(write_site("quick").read_text()).words
    assert "No run.json was found" in words
    assert "No claims are written down" in words
    assert "notebooks/04_device_removal.ipynb" in words


def test_the_run_is_told(folder):
    make()
    paths.runs("quick").mkdir(parents=True)
    run = {
        "commit": "abc",
        "device": "cpu",
        "seconds": 61.0,
        "versions": {"torch": "2.15.0"},
        "weights": {"prism-mini/unet": "f" * 64},
        "notebooks": {"04_device_removal": {"seconds": 59.7, "parameters": {"n_images": 5}}},
    }
    (paths.runs("quick") / "run.json").write_text(json.dumps(run))
    words = Reader(write_site("quick").read_text()).words
    for fact in ("2.15.0", "f" * 64, "60 s (n_images = 5)", "abc"):
        assert fact in words


def test_a_torn_artefact_is_not_shown_as_if_it_were_whole(folder):
    make()
    (folder / "table_2.csv").write_text("method,l1\n")
    words = Reader(write_site("quick").read_text()).words
    assert "table_2.csv: gone or changed since it was made" in words


def test_a_long_table_says_what_it_hides(tmp_path):
    pd.DataFrame({"a": range(100)}).to_csv(tmp_path / "t.csv", index=False)
    table = read_table(tmp_path / "t.csv", most_rows=10)
    assert (len(table.rows), table.hidden) == (10, 90)


def test_the_papers_columns_are_marked(tmp_path):
    pd.DataFrame({"paper": [1], "paper_l1": [1], "l1": [1]}).to_csv(tmp_path / "t.csv", index=False)
    table = read_table(tmp_path / "t.csv")
    assert [column.paper for column in table.columns] == [True, True, False]


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_shown_number_is_right_to_its_digits(number):
    back = float(show(repr(number)).replace(",", ""))
    assert back == pytest.approx(number, rel=1e-3, abs=1e-300)


@pytest.mark.parametrize("text", ["", "Pleural Effusion", "nan", "inf", "u-zeros"])
def test_what_is_no_number_stays_as_it_is(text):
    assert show(text) == text
