"""Image files for tests: a drawn chest, DICOMs of any kind, headers that promise too much."""

import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "nih-subset"

needs_real = pytest.mark.skipif(
    not (REAL / "images").is_dir(), reason="the development set of real radiographs is not here"
)


def real_radiographs(count: int) -> list[Path]:
    """The first files of the development set, by name."""
    return sorted((REAL / "images").iterdir())[:count]


def drawn(height: int = 120, width: int = 100) -> np.ndarray:
    """A uint8 picture (height, width) with all levels, unlike itself mirrored or turned."""
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    lungs = np.exp(-(((columns - 0.3) / 0.15) ** 2) - ((rows - 0.45) / 0.3) ** 2)
    values = 0.9 * rows + 0.1 * columns - 0.5 * lungs
    return np.rint(255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)


def save_dicom(path: Path, stored: np.ndarray, *, bits: int = 12, **tags: object) -> Path:
    """Write `stored` (H, W) as an uncompressed MONOCHROME2 CR; `tags` replace or add elements."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.Modality = "CR"
    data.PhotometricInterpretation = "MONOCHROME2"
    data.SamplesPerPixel = 1
    data.Rows, data.Columns = stored.shape[:2]
    data.BitsAllocated = 8 * stored.dtype.itemsize
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelRepresentation = int(stored.dtype.kind == "i")
    data.PixelData = stored.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def save_black_png(path: Path, height: int, width: int) -> Path:
    """A grey PNG of any size, black; written row by row, it never stands in memory."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return _save_png(path, header, _black_rows(height, width))


@cache
def _black_rows(height: int, width: int) -> bytes:
    packer = zlib.compressobj(1)
    row = b"\0" * (width + 1)
    return b"".join(packer.compress(row) for _ in range(height)) + packer.flush()


def save_deep_colour(path: Path, stored: np.ndarray) -> Path:
    """A 16-bit PNG in colour from uint16 (H, W, 3), or with transparency from (H, W, 4)."""
    height, width, channels = stored.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in stored)
    kind = {3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return _save_png(path, header, zlib.compress(rows))


def _save_png(path: Path, header: bytes, rows: bytes) -> Path:
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, content in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
            checksum = zlib.crc32(name + content)
            file.write(struct.pack(">I", len(content)) + name + content)
            file.write(struct.pack(">I", checksum))
    return path
