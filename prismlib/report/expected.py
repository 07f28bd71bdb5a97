"""The paper's claims as `data_manifests/expected.yaml` states them.

The file holds a list under `claims:`. Each entry has

    id           unique, such as table_1_train_effusion
    source       where the paper says it: "Table 1"
    statement    the claim in one sentence
    domain       label_table, simulated, real_radiographs or paper_text
    paper_value  the paper's number; may be left out
    kind         value (our number is the paper's), difference (a minus b has a sign) or at_most
    tolerance    how far our number may lie from the paper's and still reproduce it (default 0)
    lookup       table, column and where (column values that pick exactly one row);
                 for a difference `a` and `b` instead of `where`, each picking one row, or `where`
                 if the column is a difference already, and `sign`: positive or negative;
                 optionally low, high and n: the columns of the interval and of the sample size
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from prismlib.config import nearest
from prismlib.errors import UsageError

DOMAINS = ("label_table", "simulated", "real_radiographs", "paper_text")
KINDS = ("value", "difference", "at_most")
SIGNS = ("positive", "negative")
OPTIONAL = ("paper_value", "tolerance", "where", "a", "b", "sign", "low", "high", "n")


@dataclass(frozen=True)
class Lookup:
    """Which cells of which table hold our side of a claim."""

    table: str
    column: str
    where: Mapping[str, Any] | None = None
    a: Mapping[str, Any] | None = None
    b: Mapping[str, Any] | None = None
    sign: str | None = None
    low: str | None = None
    high: str | None = None
    n: str | None = None


@dataclass(frozen=True)
class Claim:
    """One statement of the paper, and where this project would see it."""

    id: str
    source: str
    statement: str
    domain: str
    kind: str
    lookup: Lookup
    paper_value: float | None = None
    tolerance: float = 0.0


def read_claims(path: Path) -> list[Claim]:
    """The claims of a file, checked; no file means no claims yet."""
    if not path.is_file():
        return []
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError(
            f"{path.name} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    entries = content.get("claims") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UsageError(f"{path.name}: expected a list under `claims:`")
    claims = [_claim(entry, f"{path.name}: claim {i + 1}") for i, entry in enumerate(entries)]
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise UsageError(f"{path.name}: two claims have the id {claim.id!r}; make them differ")
        seen.add(claim.id)
    return claims


def _claim(entry: object, where: str) -> Claim:
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {entry!r}; expected its fields by name")
    where = f"{where} ({entry.get('id', 'no id')})"
    lookup = entry.get("lookup")
    if not isinstance(lookup, dict):
        raise UsageError(f"{where}: lookup is {lookup!r}; expected table, column and where")
    for given, kind in ((entry, Claim), (lookup, Lookup)):
        _check_keys(given, kind, where)
    claim = Claim(**{**entry, "lookup": Lookup(**lookup)})
    _check_values(claim, where)
    return claim


def _check_keys(given: Mapping[str, Any], kind: type[Claim] | type[Lookup], where: str) -> None:
    known = {field.name: field for field in fields(kind)}
    for key in given:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}: {nearest(str(key), known)}")
    for key in known:
        if key not in given and key not in OPTIONAL:
            raise UsageError(f"{where}: {key} is missing")


def _check_values(claim: Claim, where: str) -> None:
    lookup = claim.lookup
    for name, value, valid in (
        ("domain", claim.domain, DOMAINS),
        ("kind", claim.kind, KINDS),
        ("sign", lookup.sign or "positive", SIGNS),
    ):
        if value not in valid:
            raise UsageError(f"{where}: {name} is {value!r}: {nearest(str(value), valid)}")
    for name, number in (("paper_value", claim.paper_value), ("tolerance", claim.tolerance)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise UsageError(f"{where}: {name} is {number!r}; expected a number")
    if claim.kind == "at_most" and claim.paper_value is None:
        raise UsageError(f"{where}: paper_value is missing; at_most needs it as the bound")
    pair = lookup.a is not None and lookup.b is not None and lookup.where is None
    single = lookup.where is not None and lookup.a is None and lookup.b is None
    if not (single or (pair and claim.kind == "difference")):
        raise UsageError(f"{where}: expected `where`, or for a difference both `a` and `b`")
    for conditions in filter(None, (lookup.where, lookup.a, lookup.b)):
        if not isinstance(conditions, dict):
            raise UsageError(f"{where}: {conditions!r} picks no row; expected column: value")
    if lookup.sign is None and claim.kind == "difference":
        raise UsageError(f"{where}: sign is missing; expected positive or negative")
    if lookup.sign is None and claim.kind == "value" and claim.domain == "simulated":
        raise UsageError(
            f"{where}: a simulated number is not compared with the paper's; expected a sign, "
            "or kind difference or at_most"
        )
    if (lookup.low is None) != (lookup.high is None):
        raise UsageError(f"{where}: an interval needs both low and high")
