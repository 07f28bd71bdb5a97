"""Real radiology reports, read where torchxrayvision's package keeps them; for their words alone.

They are Indiana University's (Demner-Fushman et al. 2016, doi 10.1093/jamia/ocv080), under CC
BY-NC-ND 4.0: nothing of their text is kept here or passed on.
"""

import re
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from prismlib.errors import PrismError

SECTIONS = ("FINDINGS", "IMPRESSION")
REPORTS = 3955


def reports_path() -> Path:
    """The archive of reports in torchxrayvision's package."""
    spec = find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        raise PrismError("torchxrayvision is not installed, which brings the reports; run make")
    return Path(spec.origin).parent / "data" / "NLMCXR_reports.tgz"


def read_reports(path: Path | None = None) -> Iterator[str]:
    """Findings and impression of each of the 3,955 reports; an empty text where both are blank.

    What was taken out to hide who it is ("XXXX") is left out. Raises PrismError for a file that is
    no such archive.
    """
    path = path or reports_path()
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".xml") else None
                if file is not None:
                    yield _text(ElementTree.fromstring(file.read()))
    except (OSError, tarfile.TarError, ElementTree.ParseError, EOFError) as error:
        raise PrismError(f"{path} is not the archive of reports: {error}") from error


def _text(report: ElementTree.Element) -> str:
    parts = [
        part.text or "" for part in report.iter("AbstractText") if part.get("Label") in SECTIONS
    ]
    return " ".join(re.sub(r"\S*XXXX\S*", " ", " ".join(parts)).split())
