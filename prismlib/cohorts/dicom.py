"""DICOM radiographs as grey values: rescale, window, photometric interpretation."""

import struct
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import apply_windowing, get_decoder, pixel_array
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from prismlib.cohorts.pixels import Pixels, check_shape, grey, stretched
from prismlib.errors import UsageError

# Radiographs proper, and the classes under which archives export them again.
_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)
_MODALITIES = ("CR", "DX", "RG", "OT", "")

# What pydicom raises on files that are torn or were altered.
_DAMAGE = (
    BytesLengthException,
    InvalidDicomError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


def read_dicom(path: Path) -> Pixels:
    """Decode one frontal radiograph; everything the header can refuse is refused before decoding.

    The modality transform (rescale or table) comes first, then the first VOI table or window;
    without either, `pixels.stretched` chooses. MONOCHROME1 is inverted. Pixel padding is black.
    """
    try:
        header = dcmread(path, force=True, stop_before_pixels=True)
        _check_kind(path, header)
        check_shape(path, int(header.Rows), int(header.Columns))
        data = dcmread(path, force=True)
        _check_syntax(path, data)
        stored = pixel_array(data, raw=False)
        if stored.ndim == 3 and stored.shape[-1] == 3:
            values, notes = _from_colour(path, data, stored)
        else:
            values, notes = _from_grey(path, data, stored)
        return Pixels(
            values,
            int(header.BitsStored),
            str(header.PhotometricInterpretation),
            (*notes, *_header_notes(header)),
            _spacing(header),
            header,
        )
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"{path}: got a DICOM that cannot be decoded ({reason}), expected a whole file with "
            "one image; export it again"
        ) from error


def _check_kind(path: Path, header: Dataset) -> None:
    """Refuse what is not one radiograph: other modalities, several frames, no image."""
    modality = str(header.get("Modality") or "").strip().upper()
    sop_class = header.get("SOPClassUID")
    if modality not in _MODALITIES or (sop_class and sop_class not in _CLASSES):
        got = f"{modality or 'no modality'}, {UID(sop_class).name if sop_class else 'no class'}"
        raise UsageError(
            f"{path}: got a DICOM of another kind ({got}), expected a radiograph of modality CR "
            "or DX; choose the radiograph of the study"
        )
    if "Rows" not in header or "Columns" not in header:
        raise UsageError(
            f"{path}: got a DICOM without an image, expected a radiograph; it may be a report "
            "or an index of the study"
        )
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UsageError(
            f"{path}: got a DICOM of {frames} frames, expected one; export the frame you mean"
        )
    photometric = str(header.get("PhotometricInterpretation", ""))
    if not photometric.startswith(("MONOCHROME", "RGB", "YBR")):
        raise UsageError(
            f"{path}: got photometric interpretation {photometric or 'unknown'}, expected "
            "MONOCHROME1 or MONOCHROME2; export it in grey"
        )


def _check_syntax(path: Path, data: Dataset) -> None:
    """Refuse a compression that no installed decoder reads; name it."""
    if "PixelData" not in data:
        raise UsageError(
            f"{path}: got a DICOM without pixel data, expected a radiograph; export it with "
            "its image"
        )
    if "TransferSyntaxUID" not in data.file_meta:  # files without a preamble
        implicit = data.original_encoding[0]
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        data.file_meta.TransferSyntaxUID = syntax
    syntax = data.file_meta.TransferSyntaxUID
    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        raise UsageError(
            f"{path}: got pixel data compressed as {syntax.name}, which no installed decoder "
            "reads, expected uncompressed, RLE or JPEG 2000; convert it (dcmdjpeg, gdcmconv --raw)"
        )


def _from_grey(path: Path, data: Dataset, stored: np.ndarray) -> tuple[np.ndarray, list[str]]:
    values, low, high = _modality(data, stored)
    inverted = data.PhotometricInterpretation == "MONOCHROME1"
    fractions, notes = _voi(path, data, values)
    if fractions is not None:
        shown = 1 - fractions if inverted else fractions
    else:
        if high <= low:
            raise ValueError("its rescale or table leaves one value")
        fractions = ((values - low) / (high - low)).astype(np.float32)
        shown, note = stretched(1 - fractions if inverted else fractions)
        notes = [note] if note else []
    padding = data.get("PixelPaddingValue")
    if isinstance(padding, int) and (stored == padding).any():
        shown = np.where(stored == padding, np.float32(0), shown)
        notes.append(f"pixels of the padding value {padding} were set to black")
    return np.clip(shown, 0, 1).astype(np.float32), notes


def _from_colour(path: Path, data: Dataset, stored: np.ndarray) -> tuple[np.ndarray, list[str]]:
    values, note = grey(path, stored.astype(np.float32) / (2 ** int(data.BitsStored) - 1))
    return values, [note] if note else []


def _modality(data: Dataset, stored: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Modality values (C.11.1), and the least and greatest that the stored bits could give."""
    if data.get("ModalityLUTSequence"):
        first, entries = _table(data.ModalityLUTSequence[0])
        values = entries[np.clip(stored.astype(np.int64) - first, 0, len(entries) - 1)]
        return values, float(entries.min()), float(entries.max())
    bits, signed = int(data.BitsStored), int(data.PixelRepresentation) == 1
    slope, intercept = 1.0, 0.0
    if data.get("RescaleSlope") is not None and data.get("RescaleIntercept") is not None:
        slope, intercept = float(data.RescaleSlope), float(data.RescaleIntercept)
    least = -(2 ** (bits - 1)) if signed else 0
    ends = sorted(slope * end + intercept for end in (least, least + 2**bits - 1))
    return stored.astype(np.float64) * slope + intercept, ends[0], ends[1]


def _voi(path: Path, data: Dataset, values: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """Values of interest (C.11.2) as fractions of black to white; None where none are stored."""
    if data.get("VOILUTSequence"):
        first, entries = _table(data.VOILUTSequence[0])
        index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
        black, white = float(entries.min()), float(entries.max())
        if white == black:
            raise ValueError("its VOI table has one value")
        fractions = (entries[index] - black) / (white - black)
        shown_as = "VOI table"
    elif data.get("WindowCenter") is not None and data.get("WindowWidth") is not None:
        center, width = (_first(data[name].value) for name in ("WindowCenter", "WindowWidth"))
        ends = np.array([center - 50 * width, center + 50 * width])
        black, white = apply_windowing(ends, data)
        fractions = (apply_windowing(values, data) - black) / (white - black)
        shown_as = f"window (centre {center:g}, width {width:g})"
    else:
        return None, []
    if np.ptp(fractions) == 0 < np.ptp(values):
        raise UsageError(
            f"{path}: its {shown_as} shows none of its values, {values.min():g} to "
            f"{values.max():g}, expected one that does; correct or remove it"
        )
    return fractions.astype(np.float32), []


def _first(value: object) -> float:
    return float(value if isinstance(value, (int, float)) else value[0])  # type: ignore[index]


def _table(item: Dataset) -> tuple[int, np.ndarray]:
    """First mapped value and the entries of a modality or VOI lookup table."""
    count, first, _ = (int(number) for number in item.LUTDescriptor)
    if isinstance(item.LUTData, bytes):
        wide = len(item.LUTData) >= 2 * (count or 2**16)
        entries = np.frombuffer(item.LUTData, dtype="<u2" if wide else np.uint8)
    else:
        entries = np.atleast_1d(np.asarray(item.LUTData))
    return first, entries[: count or 2**16].astype(np.float64)


def _spacing(header: Dataset) -> tuple[float, float] | None:
    """Millimetres between rows and between columns, at the patient or else at the detector."""
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    return (float(spacing[0]), float(spacing[1])) if spacing else None


def _header_notes(header: Dataset) -> list[str]:
    """What the header says against the image being a frontal chest radiograph."""
    notes = []
    part = str(header.get("BodyPartExamined") or "").upper()
    if part and part not in ("CHEST", "THORAX"):
        notes.append(f"the header names the body part {part}, not the chest")
    view = str(header.get("ViewPosition") or "").upper()
    if view and view not in ("PA", "AP"):
        notes.append(f"the header names the view {view}; the models know frontal views alone")
    spacing = _spacing(header)
    if spacing and abs(spacing[0] / spacing[1] - 1) > 0.01:
        notes.append("its pixels are not square; they are treated as if they were")
    return notes
