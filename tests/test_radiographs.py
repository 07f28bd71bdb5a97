"""Reading radiographs: what each format and depth must give, and what is refused in one line."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    JPEGLosslessSV1,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from radiograph_files import (
    REAL,
    drawn,
    needs_real,
    real_radiographs,
    save_black_png,
    save_deep_colour,
    save_dicom,
)

from prismlib.cohorts.nih import read_nih_labels
from prismlib.cohorts.radiographs import read_radiograph, to_original
from prismlib.errors import UsageError

LEVEL = 1 / 255

in_a_folder = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_array(folder: Path, array: np.ndarray, name: str = "image.png", **options: object):
    Image.fromarray(array).save(folder / name, **options)
    return read_radiograph(folder / name)


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_radiograph(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


# What the formats give


def test_an_eight_bit_image_of_512_pixels_is_read_to_the_level(tmp_path: Path) -> None:
    stored = drawn(512, 512)
    radiograph = read_array(tmp_path, stored)
    assert radiograph.image.dtype == np.float32
    np.testing.assert_array_equal(radiograph.image, stored.astype(np.float32) / 255)
    assert (radiograph.kind, radiograph.bits, radiograph.notes) == ("png", 8, ())


@in_a_folder
@given(
    stored=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=64, max_side=90)),
    factor=st.sampled_from([16, 64, 256, 257]),
    darkest=st.integers(0, 100),
)
def test_deeper_versions_of_an_image_read_as_the_image(
    tmp_path: Path, stored: np.ndarray, factor: int, darkest: int
) -> None:
    stored[-1, ::2] = 255  # a radiograph has white somewhere, though not always black
    stored = np.maximum(stored, darkest)
    stored[0, ::2] = darkest
    shallow = read_array(tmp_path, stored)
    deep = read_array(tmp_path, stored.astype(np.uint16) * factor, "deep.png")
    assert deep.bits == 16
    assert np.abs(deep.image - shallow.image).max() <= LEVEL + 1e-6


def test_raw_detector_values_in_a_narrow_range_become_visible(tmp_path: Path) -> None:
    stored = (drawn().astype(np.uint16) * 20) + 40_000  # 40,000 to 45,100 of 65,535
    radiograph = read_array(tmp_path, stored)
    picture = radiograph.image[radiograph.region]
    assert picture.min() < 0.05 and picture.max() > 0.95
    assert any("no window" in note for note in radiograph.notes)


def test_one_white_hot_pixel_does_not_make_a_twelve_bit_image_black(tmp_path: Path) -> None:
    stored = drawn(300, 300).astype(np.uint16) * 16
    clean = read_array(tmp_path, stored).image
    stored[5, 5] = 65_535
    hot = read_array(tmp_path, stored).image
    assert np.median(np.abs(hot - clean)) < LEVEL


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_every_way_to_store_grey_reads_as_grey(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(drawn())
    grey.convert(mode).save(tmp_path / "stored.png")
    stored = read_radiograph(tmp_path / "stored.png").image
    expected = read_array(tmp_path, drawn()).image
    assert np.abs(stored - expected).max() <= LEVEL / 2


def test_sixteen_bit_grey_stored_as_colour_keeps_its_depth(tmp_path: Path) -> None:
    deep = drawn(512, 512).astype(np.uint16) * 16 + 7  # the high bytes alone are nearly black
    save_deep_colour(tmp_path / "deep.png", np.repeat(deep[..., None], 3, axis=2))
    radiograph = read_radiograph(tmp_path / "deep.png")
    assert radiograph.bits == 16
    np.testing.assert_allclose(radiograph.image, read_array(tmp_path, deep).image, atol=1e-6)
    save_deep_colour(tmp_path / "alpha.png", np.repeat(deep[..., None], 4, axis=2))
    assert "transparency" in refusal(tmp_path / "alpha.png")


def test_transparent_parts_are_black_and_said_to_be(tmp_path: Path) -> None:
    alpha = np.full((120, 100), 255, dtype=np.uint8)
    alpha[:60] = 0
    white = np.full((120, 100), 255, dtype=np.uint8)
    radiograph = read_array(tmp_path, np.dstack([white, white, white, alpha]))
    picture = radiograph.image[radiograph.region]
    assert picture[:200].max() == 0 and picture[-200:].min() == 1
    assert any("transparent" in note for note in radiograph.notes)


def test_jpeg_and_its_orientation_tag(tmp_path: Path) -> None:
    upright = read_array(tmp_path, drawn(), "upright.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    Image.fromarray(np.ascontiguousarray(np.rot90(drawn()))).save(
        tmp_path / "turned.jpg", quality=95, exif=exif
    )
    turned = read_radiograph(tmp_path / "turned.jpg")
    assert upright.kind == turned.kind == "jpeg"
    assert turned.original_shape == upright.original_shape == (120, 100)
    assert np.abs(turned.image - upright.image).mean() < 2 * LEVEL


def test_cmyk_jpeg_reads_close_to_its_grey(tmp_path: Path) -> None:
    Image.fromarray(drawn()).convert("RGB").convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98)
    expected = read_array(tmp_path, drawn()).image
    assert np.abs(read_radiograph(tmp_path / "cmyk.jpg").image - expected).mean() < 3 * LEVEL


def test_a_coloured_arrow_is_noted_and_a_colour_photograph_refused(tmp_path: Path) -> None:
    colour = np.repeat(drawn()[..., None], 3, axis=2)
    colour[10:14, 10:40] = (255, 0, 0)
    marked = read_array(tmp_path, colour)
    assert any("colour" in note for note in marked.notes)
    colour[:, :60] = (30, 200, 90)
    Image.fromarray(colour).save(tmp_path / "photograph.png")
    assert "coloured" in refusal(tmp_path / "photograph.png")


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(drawn()).save(tmp_path / "really_png.dcm", format="PNG")
    save_dicom(tmp_path / "really_dicom.png", drawn().astype(np.uint16) * 16)
    first, second = (read_radiograph(tmp_path / f"really_{n}") for n in ("png.dcm", "dicom.png"))
    assert (first.kind, second.kind) == ("png", "dicom")
    assert np.abs(first.image - second.image).max() <= LEVEL + 1e-6


# DICOM


@in_a_folder
@given(
    bits=st.sampled_from([8, 10, 12, 14, 16]),
    signed=st.booleans(),
    window=st.sampled_from([None, "full", "narrow", "sigmoid", "table"]),
    rescaled=st.booleans(),
)
def test_monochrome1_of_the_inverted_is_monochrome2(
    tmp_path: Path, bits: int, signed: bool, window: str | None, rescaled: bool
) -> None:
    span = 2**bits - 1
    least = -(2 ** (bits - 1)) if signed else 0
    levels = np.rint(drawn() / 255 * span).astype(np.int64)
    dtype = f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"
    slope, intercept = (2.0, -1000.0) if rescaled else (1.0, 0.0)
    tags: dict[str, object] = {}
    if rescaled:
        tags |= {"RescaleSlope": slope, "RescaleIntercept": intercept}
    middle = (least + span / 2) * slope + intercept  # windows are mirrored about the middle
    if window in ("full", "narrow", "sigmoid"):
        width = span * slope * (1 if window == "full" else 0.5)
        function = "SIGMOID" if window == "sigmoid" else "LINEAR_EXACT"
        tags |= {"WindowCenter": f"{middle:g}", "WindowWidth": f"{width:g}",
                 "VOILUTFunction": function}  # fmt: skip
    images = []
    for photometric, stored in (("MONOCHROME2", levels), ("MONOCHROME1", span - levels)):
        table = {}
        if window == "table" and not rescaled and not signed:
            table = {"VOILUTSequence": [_voi_table(bits, photometric == "MONOCHROME1")]}
        path = save_dicom(
            tmp_path / "d.dcm",
            (stored + least).astype(dtype),
            bits=bits,
            PhotometricInterpretation=photometric,
            **tags,
            **table,
        )
        images.append(read_radiograph(path).image)
    assert np.ptp(images[0]) > 0.9
    assert np.abs(images[0] - images[1]).max() < 1e-3


def _voi_table(bits: int, inverted: bool) -> Dataset:
    """A square root as 8-bit entries: longer than its entries can index, as devices write."""
    entries = np.rint(255 * np.sqrt(np.arange(2**bits) / (2**bits - 1))).astype(int)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [2**bits % 2**16, 0, 8])
    item.add_new("LUTData", "OW", (255 - entries[::-1] if inverted else entries)
                 .astype("<u2").tobytes())  # fmt: skip
    return item


def test_a_window_is_applied_as_the_standard_says(tmp_path: Path) -> None:
    stored = np.rint(drawn(512, 512) / 255 * 4095).astype(np.uint16)
    path = save_dicom(tmp_path / "d.dcm", stored, WindowCenter="2048", WindowWidth="1024")
    expected = np.clip((stored - 2047.5) / 1023 + 0.5, 0, 1)
    assert np.abs(read_radiograph(path).image - expected).max() < 1e-4


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    stored = np.rint(drawn(512, 512) / 255 * 4095).astype(np.uint16)
    plain = save_dicom(tmp_path / "a.dcm", stored, WindowCenter="2048", WindowWidth="1024")
    moved = save_dicom(
        tmp_path / "b.dcm",
        stored,
        RescaleSlope="1",
        RescaleIntercept="-1000",
        WindowCenter="1048",
        WindowWidth="1024",
    )
    assert np.abs(read_radiograph(plain).image - read_radiograph(moved).image).max() < 1e-6


def test_bits_beyond_those_stored_are_ignored(tmp_path: Path) -> None:
    stored = drawn(512, 512).astype(np.uint16) * 16
    clean = read_radiograph(save_dicom(tmp_path / "a.dcm", stored)).image
    dirty = read_radiograph(save_dicom(tmp_path / "b.dcm", stored | 0xA000)).image
    np.testing.assert_array_equal(clean, dirty)


def test_padding_is_black_even_where_its_value_is_bright(tmp_path: Path) -> None:
    stored = np.full((512, 512), 4095, dtype=np.uint16)
    stored[100:400, 100:400] = drawn(300, 300).astype(np.uint16) * 15
    path = save_dicom(tmp_path / "d.dcm", stored, PixelPaddingValue=4095)
    image = read_radiograph(path).image
    assert image[:90].max() == 0
    assert image[399, 380] > 0.8


def test_spacing_and_header_notes(tmp_path: Path) -> None:
    stored = drawn().astype(np.uint16) * 16
    path = save_dicom(
        tmp_path / "d.dcm",
        stored,
        ImagerPixelSpacing=["0.2", "0.2"],
        BodyPartExamined="HAND",
        ViewPosition="LL",
    )
    radiograph = read_radiograph(path)
    assert radiograph.pixel_spacing_mm == (0.2, 0.2)
    assert radiograph.header is not None and "PixelData" not in radiograph.header
    assert sum("HAND" in note or "LL" in note for note in radiograph.notes) == 2


def test_a_decodable_compression_reads_as_the_uncompressed(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "d.dcm", drawn().astype(np.uint16) * 16)
    plain = read_radiograph(path).image
    data = dcmread(path)
    data.compress(RLELossless)
    data.save_as(tmp_path / "rle.dcm")
    np.testing.assert_array_equal(read_radiograph(tmp_path / "rle.dcm").image, plain)


def test_dicom_without_preamble_is_known_by_its_first_tag(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "d.dcm", drawn().astype(np.uint16) * 16)
    data = dcmread(path)
    bare = Dataset({element.tag: element for element in data})
    bare.save_as(tmp_path / "bare", implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(
        read_radiograph(tmp_path / "bare").image, read_radiograph(path).image
    )


def test_secondary_captures_of_radiographs_are_read(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "d.dcm", drawn(), bits=8, SOPClassUID=SecondaryCaptureImageStorage)
    assert read_radiograph(path).bits == 8


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"Modality": "CT", "SOPClassUID": CTImageStorage}, "CT Image Storage"),
        ({"Modality": "MG"}, "MG"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"Rows": 30_000, "Columns": 30_000}, "30000x30000"),
        ({"Rows": 1, "Columns": 1}, "1x1"),
        ({"Rows": 130}, "cannot be decoded"),
        ({"WindowCenter": "90000", "WindowWidth": "10"}, "window"),
        ({"WindowCenter": "2048", "WindowWidth": "0"}, "cannot be decoded"),
        ({"BitsStored": 99}, "cannot be decoded"),
    ],
)
def test_dicoms_that_are_refused(tmp_path: Path, tags: dict[str, object], named: str) -> None:
    path = save_dicom(tmp_path / "d.dcm", drawn().astype(np.uint16) * 16, **tags)
    assert named in refusal(path)


@pytest.mark.parametrize("element", ["PixelData", "Rows"])
def test_dicoms_without_an_image_are_refused(tmp_path: Path, element: str) -> None:
    path = save_dicom(tmp_path / "d.dcm", drawn().astype(np.uint16) * 16)
    data = dcmread(path)
    del data[element]
    data.save_as(path)
    assert "DICOM without" in refusal(path)


def test_a_compression_nobody_here_reads_is_named(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "d.dcm", drawn().astype(np.uint16) * 16)
    data = dcmread(path)
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.PixelData = encapsulate([b"\xff\xd8" + b"\0" * 100])
    data["PixelData"].VR = "OB"
    data.save_as(path)
    message = refusal(path)
    assert JPEGLosslessSV1.name in message and "no installed decoder" in message


# Geometry


@in_a_folder
@given(height=st.integers(64, 700), width=st.integers(64, 700))
def test_the_picture_lies_whole_in_the_middle_of_black(
    tmp_path: Path, height: int, width: int
) -> None:
    stored = np.maximum(drawn(height, width), 40)
    radiograph = read_array(tmp_path, stored)
    top, left, inner_height, inner_width = radiograph.box
    assert max(inner_height, inner_width) == 512
    assert abs(inner_height / inner_width - height / width) <= height / width * (1 / 50)
    assert abs(512 - inner_height - 2 * top) <= 1 and abs(512 - inner_width - 2 * left) <= 1
    borders = radiograph.image.copy()
    borders[radiograph.region] = 0
    assert borders.max() == 0
    assert radiograph.image[radiograph.region].min() > 0.1
    back = to_original(radiograph.image, radiograph)
    assert back.shape == (height, width)
    assert np.abs(back - stored / 255).mean() < 0.01


def test_signed_maps_go_back_without_leaving_their_range(tmp_path: Path) -> None:
    radiograph = read_array(tmp_path, drawn(90, 200))
    noise = np.random.default_rng(0).uniform(-1, 1, (512, 512)).astype(np.float32)
    back = to_original(noise, radiograph)
    assert back.shape == (90, 200)
    assert -1 <= back.min() < -0.1 and 0.1 < back.max() <= 1
    with pytest.raises(ValueError, match="expected"):
        to_original(noise[:100], radiograph)


def test_reducing_a_checkerboard_gives_grey_not_stripes(tmp_path: Path) -> None:
    rows, columns = np.indices((1600, 1600))
    image = read_array(tmp_path, (255 * ((rows + columns) % 2)).astype(np.uint8)).image
    assert np.abs(image - 0.5).max() < 0.05


# What is refused


def test_missing_empty_text_folder_and_foreign_files(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.png")
    assert "folder" in refusal(tmp_path)
    contents = {
        "an empty file": b"",
        "a text file": b"image,label\n1.png,0\n" * 40,
        "unknown format": bytes(range(1, 255)) * 3,
        "a TIFF file": b"II*\0" + b"\0" * 300,
        "a PDF file": b"%PDF-1.7\n",
    }
    for named, content in contents.items():
        (tmp_path / "image.png").write_bytes(content)
        assert named in refusal(tmp_path / "image.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "dcm"])
def test_a_torn_file_is_refused_wherever_it_is_torn(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"whole.{suffix}"
    if suffix == "dcm":
        save_dicom(path, drawn().astype(np.uint16) * 16)
    else:
        Image.fromarray(drawn()).save(path)
    content = path.read_bytes()
    torn = tmp_path / f"torn.{suffix}"
    last = len(content) - (25 if suffix == "png" else 1)  # a PNG's pixels end before its end mark
    for length in np.unique(np.linspace(1, last, 60).astype(int)):
        torn.write_bytes(content[:length])
        refusal(torn)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (63, 500), (500, 63)])
def test_too_small(tmp_path: Path, height: int, width: int) -> None:
    Image.fromarray(np.resize(drawn(), (height, width))).save(tmp_path / "small.png")
    assert f"{width}x{height}" in refusal(tmp_path / "small.png")


@pytest.mark.filterwarnings("error")
def test_too_large_is_seen_in_the_header_with_memory_flat(tmp_path: Path) -> None:
    path = save_black_png(tmp_path / "large.png", 30_000, 30_000)
    tracemalloc.start()
    try:
        assert "30000x30000" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("error")
def test_too_large_a_jpeg(tmp_path: Path) -> None:
    Image.fromarray(drawn()).save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = (30_000).to_bytes(2, "big") * 2
    (tmp_path / "a.jpg").write_bytes(content)
    assert "30000x30000" in refusal(tmp_path / "a.jpg")


def test_constant_and_two_tone_images(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        Image.fromarray(np.full((100, 100), 77, dtype=dtype)).save(tmp_path / "flat.png")
        assert "one value" in refusal(tmp_path / "flat.png")
    save_dicom(tmp_path / "flat.dcm", np.full((100, 100), 77, dtype=np.uint16))
    assert "one value" in refusal(tmp_path / "flat.dcm")
    Image.fromarray(drawn() > 128).save(tmp_path / "bits.png")
    assert "black and white" in refusal(tmp_path / "bits.png")


# Real radiographs


@needs_real
def test_a_real_radiograph_reads_alike_in_every_format(tmp_path: Path) -> None:
    for source in real_radiographs(4):
        expected = read_radiograph(source).image
        stored = np.rint(expected * 255).astype(np.uint16)
        Image.fromarray(stored * 257).save(tmp_path / "deep.png")
        Image.fromarray(stored * 16).save(tmp_path / "twelve.png")
        save_dicom(tmp_path / "2.dcm", stored * 16)
        save_dicom(tmp_path / "1.dcm", 4095 - stored * 16, PhotometricInterpretation="MONOCHROME1")
        for name in ("deep.png", "twelve.png", "2.dcm", "1.dcm"):
            assert np.abs(read_radiograph(tmp_path / name).image - expected).max() <= LEVEL + 1e-6


@needs_real
def test_nih_labels_in_chexpert_columns() -> None:
    table = read_nih_labels(REAL / "Data_Entry_2017.csv")
    assert len(table) == 795 and table["Patient"].nunique() == 546
    assert table["Pleural Effusion"].sum() == 82
    assert table["Support Devices"].isna().all()
    assert set(table["AP/PA"]) == {"AP", "PA"}
    assert not ((table["No Finding"] == 1) & (table["Pneumonia"] == 1)).any()


def test_an_unknown_nih_finding_is_named_by_row(tmp_path: Path) -> None:
    header = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position\n"
    rows = "a.png,Effusion|Mass,1,61,M,PA\nb.png,Efusion,2,40,F,AP\n"
    (tmp_path / "t.csv").write_text(header + rows)
    with pytest.raises(UsageError, match=r"row 2.*Efusion"):
        read_nih_labels(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(header + rows.replace("Efusion", "Hernia"))
    table = read_nih_labels(tmp_path / "t.csv")
    assert table.loc[0, ["Pleural Effusion", "Lung Lesion", "No Finding"]].tolist() == [1, 1, 0]
    assert table.loc[1, ["Pleural Effusion", "No Finding"]].tolist() == [0, 0]
