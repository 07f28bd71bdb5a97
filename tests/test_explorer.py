"""The interactive cell, without a browser: what each widget's change does."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image as Picture
from radiograph_files import drawn

from prismlib.errors import UsageError
from prismlib.report.explorer import UPLOADED, Explorer, Shown


@dataclass(frozen=True)
class Edited:
    image: np.ndarray
    s_clip: float = 0.25
    passed: bool = True


def ramp(value):
    return np.full((512, 512), value, np.float32)


@pytest.fixture
def explorer():
    asked = []

    def edit(image, source, target):
        asked.append((source, target))
        if not target:
            raise UsageError("got an empty prompt; expected <words>")
        return Edited(image + 0.1)

    def truth(source, target):
        return ramp(0.9) if (source, target) == ("a", "b") else None

    made = Explorer({"one": Shown(ramp(0.5), True, truth), "two": Shown(ramp(0.2))}, edit, "a", "b")
    made.asked = asked
    return made


def seen(explorer):
    return np.asarray(Picture.open(io.BytesIO(explorer.screen.value)))[100, 100].tolist()


def test_a_radiograph_is_shown_before_anything_is_asked(explorer):
    assert seen(explorer) == [128] * 3 and list(explorer.pictures) == ["before"]
    explorer.subject.value = "two"
    assert seen(explorer) == [51] * 3 and explorer.asked == []


def test_the_slider_goes_from_before_to_after_to_difference_to_truth(explorer):
    explorer.button.click()
    assert explorer.asked == [("a", "b")]
    assert list(explorer.pictures) == ["before", "after", "difference", "truth"]
    assert explorer.slider.value == 1.0 and seen(explorer) == [153] * 3
    explorer.slider.value = 0.5
    assert explorer.slider.description == "before / after"
    assert seen(explorer) in ([140] * 3, [141] * 3)
    explorer.slider.value = 2.0
    red, _, blue = seen(explorer)
    assert red > blue and explorer.slider.description == "difference"
    explorer.slider.value = 3.0
    assert seen(explorer) == [230] * 3
    assert "S_CLIP 0.250, passed" in explorer.status.value
    assert "SYNTHETIC" in explorer.status.value


def test_no_truth_is_shown_where_none_is_known(explorer):
    explorer.target.value = "c"
    explorer.button.click()
    assert list(explorer.pictures) == ["before", "after", "difference"]
    explorer.slider.value = explorer.slider.max
    explorer.subject.value = "two"  # which has fewer pictures
    assert seen(explorer) == [51] * 3


def test_what_cannot_be_done_is_said_in_a_line(explorer):
    explorer.target.value = ""
    explorer.button.click()
    assert explorer.status.value == "got an empty prompt; expected &lt;words&gt;"
    assert seen(explorer) == [128] * 3


def uploaded(name, content):
    return ({"name": name, "type": "", "size": len(content), "content": memoryview(content),
             "last_modified": datetime.now(UTC)},)  # fmt: skip


def test_an_uploaded_radiograph_can_be_edited(explorer):
    held = io.BytesIO()
    Picture.fromarray(drawn(300, 200)).save(held, format="PNG")
    explorer.upload.set_trait("value", uploaded("../mine.png", held.getvalue()))
    assert explorer.subject.value == UPLOADED
    explorer.button.click()
    assert list(explorer.pictures) == ["before", "after", "difference"]


def test_an_uploaded_file_that_is_none_is_refused(explorer):
    explorer.upload.set_trait("value", uploaded("mine.png", b"no picture"))
    assert "mine.png" in explorer.status.value and explorer.subject.value == "one"


def test_pictures_say_what_they_are(explorer):
    plain = Explorer({"two": Shown(ramp(0.2))}, lambda image, *_: Edited(image), "a", "b")
    assert (explorer.pictures["before"][490:, :120] != 128).any()
    assert (plain.pictures["before"] == 51).all()
    plain.run()
    assert (plain.pictures["after"][490:, :120] != 51).any()
