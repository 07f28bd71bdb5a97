"""The paper's claims (`expected`) held against the tables of a run -> `claims.csv`.

A verdict is `exact` (equal), `reproduced` (within the tolerance, or the interval holds the paper's
number, or at most the bound), `direction` (the sign alone agrees), `contradicted`, or
`not_testable_here` where the table, the row or its value is missing; the evidence says which.

In simulation only signs and bounds are judged: `direction` or `contradicted`, never a distance
from the paper's number. A difference is judged by the sign of our estimate even where its interval
includes zero, a bound by our estimate even where its interval includes the bound, and the evidence
then says that this run does not settle it; the interval of a difference of two rows goes from one's
low minus the other's high to one's high minus the other's low, so it is never too narrow.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prismlib import paths
from prismlib.config import load_profile, nearest
from prismlib.errors import PrismError, UsageError
from prismlib.report.artefacts import write_json
from prismlib.report.expected import Claim, read_claims

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = ("exact", "reproduced", "direction", "contradicted", "not_testable_here")
UNSETTLED = "the interval includes {}: this run does not settle it"


@dataclass(frozen=True)
class Reading:
    """Our number for a claim, with its interval and sample size where the table has them."""

    value: float
    low: float | None
    high: float | None
    n: int | None
    evidence: str

    def covers(self, value: float) -> bool:
        """Whether an interval is known and `value` lies in it."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high


@dataclass(frozen=True)
class Row:
    """One row of `claims.csv`."""

    claim_id: str
    source: str
    statement: str
    domain: str
    paper_value: float | None
    our_value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int | None
    verdict: str
    evidence: str


COLUMNS = tuple(field.name for field in fields(Row))


class Unseen(Exception):
    """Our side of a claim is not there; the message is the reason."""


def assess(claim: Claim, folder: Path) -> Row:
    """Hold one claim against the tables in a profile's folder."""
    try:
        reading = _read(claim, folder)
    except Unseen as reason:
        return _row(claim, None, "not_testable_here", str(reason))
    evidence = reading.evidence
    if claim.kind == "difference" and reading.covers(0):
        evidence = f"{evidence}; {UNSETTLED.format('zero')}"
    if claim.kind == "at_most" and reading.covers(bound(claim)):
        evidence = f"{evidence}; {UNSETTLED.format('the bound')}"
    return _row(claim, reading, verdict(claim, reading), evidence)


def bound(claim: Claim) -> float:
    """What a claim of kind `at_most` allows: the paper's number and the tolerance."""
    return (claim.paper_value or 0.0) + claim.tolerance


def verdict(claim: Claim, reading: Reading) -> str:
    """The verdict on a claim whose number is known, by the rules at the top of this module."""
    simulated = claim.domain == "simulated"
    if claim.kind == "at_most":
        holds = reading.value <= bound(claim)
        return ("direction" if simulated else "reproduced") if holds else "contradicted"
    sign = {None: None, "positive": 1, "negative": -1}[claim.lookup.sign]
    if sign is not None and reading.value * sign <= 0:
        return "contradicted"
    if simulated:
        return "direction"
    if claim.paper_value is not None:
        if math.isclose(reading.value, claim.paper_value, rel_tol=1e-9, abs_tol=1e-12):
            return "exact"
        near = abs(reading.value - claim.paper_value) <= claim.tolerance
        if near or reading.covers(claim.paper_value):
            return "reproduced"
    return "contradicted" if sign is None else "direction"


def write_claims(profile: str, manifest: Path | None = None) -> Path:
    """Write `figures/<profile>/claims.csv` and its sidecar; give the CSV's path."""
    import pandas as pd

    manifest = manifest or paths.manifests() / "expected.yaml"
    folder = paths.figures(profile)
    claims = read_claims(manifest)
    if not load_profile(profile).simulated:
        claims = [of_patients(claim) for claim in claims]
    rows = [astuple(assess(claim, folder)) for claim in claims]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"n": "Int64"})
    path = folder / "claims.csv"
    with paths.written_whole(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.10g")
    tables = sorted({folder / f"{claim.lookup.table}.csv" for claim in claims})
    inputs = {file.name: paths.sha256(file) for file in [manifest, *tables] if file.is_file()}
    write_json({"name": "claims", "profile": profile, "inputs": inputs}, folder / "claims.json")
    return path


def of_patients(claim: Claim) -> Claim:
    """The same claim where the tables are of real radiographs, so that distances count."""
    return replace(claim, domain="real_radiographs") if claim.domain == "simulated" else claim


def _read(claim: Claim, folder: Path) -> Reading:
    import pandas as pd

    path = folder / f"{claim.lookup.table}.csv"
    if not path.is_file():
        raise Unseen(f"{path.name} is not among this run's tables")
    table = pd.read_csv(path)
    if claim.lookup.where is not None:
        return _cell(claim, table, claim.lookup.where)
    a, b = (_cell(claim, table, where or {}) for where in (claim.lookup.a, claim.lookup.b))
    low = high = None
    if a.low is not None and a.high is not None and b.low is not None and b.high is not None:
        low, high = a.low - b.high, a.high - b.low
    sizes = [n for n in (a.n, b.n) if n is not None]
    evidence = f"{a.evidence} = {a.value:.4g} minus {b.evidence} = {b.value:.4g}"
    return Reading(a.value - b.value, low, high, min(sizes, default=None), evidence)


def _cell(claim: Claim, table: "pd.DataFrame", where: Mapping[str, Any]) -> Reading:
    lookup, place = claim.lookup, f"{claim.lookup.table}.csv"
    named = [lookup.column, lookup.low, lookup.high, lookup.n, *where]
    for column in filter(None, named):
        if column not in table.columns:
            raise UsageError(
                f"claim {claim.id}: {place} has no column {column!r}: "
                f"{nearest(column, map(str, table.columns))}"
            )
    picked = table
    for column, wanted in where.items():
        picked = picked.loc[[_same(cell, wanted) for cell in picked[column]]]
    row = ", ".join(f"{column}={wanted}" for column, wanted in where.items())
    evidence = f"{place} [{row}] {lookup.column}"
    if len(picked) == 0:
        raise Unseen(f"{place} has no row {row}")
    if len(picked) > 1:
        raise PrismError(f"claim {claim.id}: {len(picked)} rows of {place} are {row}; expected one")

    def number(column: str | None) -> float | None:
        value = _as_number(picked.iloc[0][column]) if column else None
        return None if value is None or math.isnan(value) else value

    value, n = number(lookup.column), number(lookup.n)
    if value is None:
        raise Unseen(f"{evidence} is empty")
    size = None if n is None else int(n)
    return Reading(value, number(lookup.low), number(lookup.high), size, evidence)


def _as_number(cell: object) -> float:
    """A table's cell as a float; a `PrismError` where it holds anything else."""
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise PrismError(f"a claim's cell holds {cell!r}; expected a number") from None


def _same(cell: object, wanted: object) -> bool:
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        try:
            return math.isclose(float(cell), wanted)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return False
    return str(cell) == str(wanted)


def _row(claim: Claim, reading: Reading | None, judgement: str, evidence: str) -> Row:
    statement = " ".join(claim.statement.split())
    if claim.domain == "simulated" and "in simulation" not in statement.lower():
        statement = f"In simulation: {statement}"
    numbers = asdict(reading) if reading else dict.fromkeys(("value", "low", "high", "n"))
    return Row(
        claim_id=claim.id,
        source=claim.source,
        statement=statement,
        domain=claim.domain,
        paper_value=claim.paper_value,
        our_value=numbers["value"],
        ci_low=numbers["low"],
        ci_high=numbers["high"],
        n=numbers["n"],
        verdict=judgement,
        evidence=evidence,
    )
