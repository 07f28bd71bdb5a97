"""What the pictures of `prism edit` say of themselves, and its DICOM as others read it."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, FileDataset, config, dcmread
from pydicom.uid import (
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from radiograph_files import drawn, save_dicom

from prismlib import paths
from prismlib.cli import main
from prismlib.cohorts.radiographs import read_radiograph, to_original
from prismlib.commands import edit_results
from prismlib.commands.edit_dicom import LONG_TEXT, SHORT_TEXT, _text

SOURCE, TARGET = "chest x-ray with support devices", "Aufnahme ohne Geräte, 無"
PATIENT = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Müller^Jörg",
    "PatientID": "X-17",
    "PatientBirthDate": "19500102",
    "PatientSex": "M",
    "StudyInstanceUID": "1.2.840.99999.1",
    "SeriesInstanceUID": "1.2.840.99999.1.1",
    "StudyDate": "20200304",
    "StudyDescription": "Thorax für Prüfung",
    "AccessionNumber": "A1",
    "BurnedInAnnotation": "YES",
    "KVP": "120",
}

# Attributes of types 1 and 2 of a Secondary Capture's mandatory modules, and General Equipment's
# (PS3.3, A.8.1.3): those of the first must have a value.
WITH_VALUE = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
    "ConversionType", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "InstanceNumber",
    "Manufacturer", "ImageType", "SyntheticData", "SpecificCharacterSet",
)  # fmt: skip
PRESENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "PatientOrientation",
)  # fmt: skip


def edit(image: Path, folder: Path, *words: str, target: str = TARGET) -> dict:
    """The record of an edit that is to succeed."""
    given = ["edit", str(image), "--source", SOURCE, "--target", target, "--out", str(folder)]
    assert main([*given, *words]) == 0
    return json.loads((folder / f"{image.stem}.json").read_text())


def as_dicom(image: Path, folder: Path, target: str = TARGET) -> FileDataset:
    """The DICOM of an edit, every value of it decoded and found valid."""
    record = edit(image, folder, "--dicom", target=target)
    assert record["outputs"]["dicom"] == f"{image.stem}_counterfactual.dcm"
    return whole(folder / record["outputs"]["dicom"])


def whole(path: Path) -> FileDataset:
    with warnings.catch_warnings(), config.strict_reading():
        warnings.simplefilter("error")
        data = dcmread(path)
        data.decode()
        for element in data.iterall():
            assert element.value is not None or element.VM == 0
    assert data.file_meta.MediaStorageSOPInstanceUID == data.SOPInstanceUID
    assert data.file_meta.MediaStorageSOPClassUID == data.SOPClassUID
    for name in WITH_VALUE:
        assert name in data and not data[name].is_empty, name
    for name in PRESENT:
        assert name in data, name
    return data


def save_png(folder: Path, height: int = 300, width: int = 200) -> Path:
    Image.fromarray(drawn(height, width)).save(folder / "chest.png")
    return folder / "chest.png"


def stored(height: int = 300, width: int = 200) -> np.ndarray:
    return drawn(height, width).astype(np.uint16) * 16


def test_both_pictures_say_how_they_were_made(tmp_path, engine):
    image = save_png(tmp_path)
    edit(image, tmp_path / "out")
    for name in ("chest_counterfactual.png", "chest_difference.png"):
        text = Image.open(tmp_path / "out" / name).text
        assert "SYNTHETIC" in text["Title"] and "SYNTHETIC" in text["Disclaimer"]
        assert (text["Source prompt"], text["Target prompt"]) == (SOURCE, TARGET)
        assert (text["Recipe"], text["Model"]) == ("fast", "fake")
        assert text["Model weights SHA-256"] == "0" * 64
        assert text["Input SHA-256"] == paths.sha256(image)
        assert text["S_CLIP"] == "0.300, passed (threshold 0.1)"
        assert text["Unfamiliarity"].startswith("not measured")
        assert text["Software"].startswith("prismlib")


def test_a_missed_threshold_is_said_in_the_pictures(tmp_path, engine):
    engine.s_clip = 0.05
    data = as_dicom(save_png(tmp_path), tmp_path / "out")
    for name in ("chest_counterfactual.png", "chest_difference.png"):
        assert "NOT PASSED" in Image.open(tmp_path / "out" / name).text["S_CLIP"]
    assert "NOT PASSED" in data.DerivationDescription


def test_two_runs_write_the_same_bytes(tmp_path, engine):
    image = save_dicom(tmp_path / "chest.dcm", stored(), **PATIENT)
    for folder in ("a", "b"):
        edit(image, tmp_path / folder, "--dicom")
    for name in ("counterfactual.png", "difference.png", "counterfactual.dcm"):
        first, second = (tmp_path / folder / f"chest_{name}" for folder in "ab")
        assert first.read_bytes() == second.read_bytes(), name


def test_no_dicom_unless_asked_for(tmp_path, engine):
    record = edit(save_dicom(tmp_path / "chest.dcm", stored()), tmp_path / "out")
    assert record["outputs"]["dicom"] is None
    assert not list((tmp_path / "out").glob("*.dcm"))


@pytest.mark.parametrize(
    ("bits", "tags"),
    [
        (12, {}),
        (12, {"PhotometricInterpretation": "MONOCHROME1"}),
        (16, {"WindowCenter": 2000, "WindowWidth": 3000}),
        (12, {"SOPClassUID": DigitalXRayImageStorageForProcessing, "Modality": "DX"}),
        (12, {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT"}),
    ],
)
def test_a_dicom_of_any_kind(tmp_path, engine, bits, tags):
    image = save_dicom(tmp_path / "chest.dcm", stored(), bits=bits, **PATIENT | tags)
    source, data = dcmread(image), as_dicom(image, tmp_path / "out")
    assert data.SOPClassUID == SecondaryCaptureImageStorage
    assert list(data.ImageType) == ["DERIVED", "SECONDARY"] and data.SyntheticData == "YES"
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
                 "StudyDate", "StudyDescription", "AccessionNumber", "Modality",
                 "BurnedInAnnotation"):  # fmt: skip
        assert data[name].value == source[name].value, name
    assert str(data.PatientName) == "Müller^Jörg" and data.SpecificCharacterSet == "ISO_IR 192"
    assert "KVP" not in data, "nobody exposed a counterfactual"
    assert data.SOPInstanceUID != source.SOPInstanceUID
    assert data.SeriesInstanceUID not in (source.SeriesInstanceUID, source.StudyInstanceUID)
    (reference,) = data.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert "SYNTHETIC" in data.SeriesDescription and len(data.SeriesDescription) <= 64
    said = data.DerivationDescription
    assert said.startswith("SYNTHETIC counterfactual, not for clinical use")
    assert SOURCE in said and TARGET in said and "0" * 64 in said
    assert (data.PhotometricInterpretation, data.BitsStored) == ("MONOCHROME2", bits)


@pytest.mark.parametrize("inverted", [False, True])
def test_the_dicom_shows_the_counterfactual(tmp_path, engine, inverted):
    """What any reader makes of it is what the PNG shows, in the finer steps of the input."""
    levels = 4095 - stored() if inverted else stored()
    photometric = f"MONOCHROME{1 if inverted else 2}"
    image = save_dicom(tmp_path / "chest.dcm", levels, PhotometricInterpretation=photometric)
    as_dicom(image, tmp_path / "out")
    again = read_radiograph(tmp_path / "out" / "chest_counterfactual.dcm")
    assert again.original_shape == (300, 200) and again.bits == 12
    png = np.asarray(Image.open(tmp_path / "out" / "chest_counterfactual.png")) / 255
    assert np.abs(to_original(again.image, again) - png).mean() < 0.003
    expected = read_radiograph(image).image.copy()
    expected[256:] *= 0.9
    pixels = dcmread(tmp_path / "out" / "chest_counterfactual.dcm").pixel_array / 4095
    exact = to_original(expected, read_radiograph(image))
    assert np.abs(pixels - exact).max() <= 0.5 / 4095 + 1e-6


def test_an_odd_number_of_bytes(tmp_path, engine):
    data = as_dicom(save_png(tmp_path, 301, 201), tmp_path / "out")
    assert len(data.PixelData) % 2 == 0 and data.pixel_array.shape == (301, 201)


def test_a_picture_that_was_no_dicom(tmp_path, engine):
    data = as_dicom(save_png(tmp_path), tmp_path / "out")
    assert (data.Modality, data.BitsStored, data.BitsAllocated) == ("OT", 8, 8)
    assert not data.PatientName and not data.PatientID
    assert "SourceImageSequence" not in data and "PixelSpacing" not in data
    assert "LossyImageCompression" not in data
    Image.fromarray(drawn(300, 200)).save(tmp_path / "lossy.jpg")
    other = as_dicom(tmp_path / "lossy.jpg", tmp_path / "out")
    assert other.LossyImageCompression == "01"
    assert other.StudyInstanceUID != data.StudyInstanceUID


def test_spacing_is_kept_with_its_kind(tmp_path, engine):
    """A detector's spacing must not come out as the patient's, nor be lost for its digits."""
    spacing = {"PixelSpacing": [0.15, 0.15], "PixelSpacingCalibrationType": "GEOMETRY"}
    spacing["PixelSpacingCalibrationDescription"] = "Stab 50 mm"
    kept = as_dicom(save_dicom(tmp_path / "a.dcm", stored(), **spacing), tmp_path / "out")
    assert list(kept.PixelSpacing) == [0.15, 0.15]
    assert kept.PixelSpacingCalibrationType == "GEOMETRY" and "ImagerPixelSpacing" not in kept
    image = save_dicom(tmp_path / "b.dcm", stored(), ImagerPixelSpacing=[0.143, 0.143])
    kept = as_dicom(image, tmp_path / "out")
    assert list(kept.ImagerPixelSpacing) == [0.143, 0.143] and "PixelSpacing" not in kept
    long = save_raw(tmp_path / "c.dcm", "PixelSpacing", "0.14300000000000000123\\0.143")
    assert list(as_dicom(long, tmp_path / "out").PixelSpacing) == [0.143, 0.143]


def save_raw(path: Path, name: str, value: str) -> Path:
    """A DICOM with a value that pydicom itself would refuse to write."""
    validation, config.settings.writing_validation_mode = (
        config.settings.writing_validation_mode,
        config.IGNORE,
    )
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            return save_dicom(path, stored(), **{name: value})
    finally:
        config.settings.writing_validation_mode = validation


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PatientSex", "not known to us here"),
        ("PatientBirthDate", "2. Mai 1950"),
        ("AccessionNumber", "A" * 40),
        ("StudyInstanceUID", "1.2.no-uid"),
    ],
)
def test_what_dicom_does_not_allow_is_left_out_and_said(tmp_path, engine, name, value):
    image = save_raw(tmp_path / "chest.dcm", name, value)
    data = as_dicom(image, tmp_path / "out")
    assert str(data[name].value or "") != value
    record = json.loads((tmp_path / "out" / "chest.json").read_text())
    assert any(name in note for note in record["notes"])


def test_what_a_dicom_lacks_is_not_invented(tmp_path, engine):
    image = save_dicom(tmp_path / "chest.dcm", stored())
    bare = dcmread(image)
    del bare.SOPInstanceUID, bare.SOPClassUID, bare.Modality
    bare.save_as(image)
    data = as_dicom(image, tmp_path / "out")
    assert data.Modality == "OT" and "SourceImageSequence" not in data
    assert "BurnedInAnnotation" not in data and not data.PatientID


def test_sequences_keep_their_words(tmp_path, engine):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "gelöscht"
    tags = {**PATIENT, "PatientIdentityRemoved": "YES"}
    image = save_dicom(
        tmp_path / "a.dcm", stored(), **tags, DeidentificationMethodCodeSequence=[code]
    )
    data = as_dicom(image, tmp_path / "out")
    assert data.DeidentificationMethodCodeSequence[0].CodeMeaning == "gelöscht"
    assert data.PatientIdentityRemoved == "YES"


def test_uids_follow_from_what_was_asked_and_made(tmp_path, engine):
    image = save_dicom(tmp_path / "chest.dcm", stored(), **PATIENT)
    first, other = as_dicom(image, tmp_path / "a"), as_dicom(image, tmp_path / "b", "normal")
    assert first.StudyInstanceUID == other.StudyInstanceUID
    for name in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert first[name].value != other[name].value
    assert first.SeriesInstanceUID != first.SOPInstanceUID


def test_long_prompts_fit_the_fields_and_are_whole_elsewhere(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(type(engine.engine.model), "embed", lambda self, prompts: None)
    target = "größer als je zuvor " * 60
    data = as_dicom(save_png(tmp_path), tmp_path / "out", target)
    assert len(data.DerivationDescription) == SHORT_TEXT
    assert data.DerivationDescription.endswith("...")
    assert target.strip() in data.ImageComments


@given(st.text(max_size=2 * SHORT_TEXT))
def test_any_prompt_becomes_valid_text(text):
    for most in (SHORT_TEXT, LONG_TEXT):
        cut = _text(text, most)
        assert len(cut) <= most and cut.isprintable()


def test_a_dicom_from_an_earlier_run_is_not_replaced(tmp_path, engine, capsys):
    image = save_png(tmp_path)
    edit(image, tmp_path / "out", "--dicom")
    kept = (tmp_path / "out" / "chest_counterfactual.dcm").read_bytes()
    for name in ("chest_counterfactual.png", "chest_difference.png", "chest.json"):
        (tmp_path / "out" / name).unlink()
    words = ["edit", str(image), "--source", SOURCE, "--target", "normal"]
    assert main([*words, "--out", str(tmp_path / "out"), "--dicom"]) == 2
    assert "chest_counterfactual.dcm" in capsys.readouterr().err
    assert (tmp_path / "out" / "chest_counterfactual.dcm").read_bytes() == kept


def test_a_dicom_that_cannot_be_written_leaves_no_half_file(tmp_path, engine, monkeypatch, capsys):
    def full(self: Dataset, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"half") if isinstance(path, Path) else None
        if isinstance(path, Path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save_as", full)
    words = ["edit", str(save_png(tmp_path)), "--source", SOURCE, "--target", TARGET, "--dicom"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert "No space left" in capsys.readouterr().err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"chest_counterfactual.png", "chest_difference.png"}


def test_the_record_names_every_file(tmp_path, engine):
    record = edit(save_png(tmp_path), tmp_path / "out", "--dicom")
    listed = {*record["outputs"].values(), "chest.json"}
    assert listed == {path.name for path in (tmp_path / "out").iterdir()}
    assert record["unfamiliarity"] is None
    assert record["disclaimer"] == edit_results.DISCLAIMER
