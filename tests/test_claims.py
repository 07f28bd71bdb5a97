"""Claims are judged by the contract's rules, and simulated ones never by a distance."""

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prismlib import paths
from prismlib.errors import PrismError, UsageError
from prismlib.report import claims, expected

CONTRACT_COLUMNS = [
    "claim_id",
    "source",
    "statement",
    "domain",
    "paper_value",
    "our_value",
    "ci_low",
    "ci_high",
    "n",
    "verdict",
    "evidence",
]

TABLE = pd.DataFrame(
    {
        "method": ["ours", "theirs", "gap"],
        "steps": [20, 50, 0],
        "score": [0.80, 0.70, 0.10],
        "score_low": [0.78, 0.65, 0.02],
        "score_high": [0.82, 0.75, 0.18],
        "n": [40, 30, 30],
        "hole": [None, 1.0, 1.0],
    }
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    made = paths.figures("quick")
    made.mkdir(parents=True)
    TABLE.to_csv(made / "table_x.csv", index=False)
    return made


def entry(**changes):
    """A claim about the row `ours`; keys of the lookup are given with the prefix `at_`."""
    lookup = {"table": "table_x", "column": "score", "where": {"method": "ours"}}
    lookup |= {key[3:]: value for key, value in changes.items() if key.startswith("at_")}
    made = {
        "id": "c1",
        "source": "Table 2",
        "statement": "It scores.",
        "domain": "label_table",
        "paper_value": 0.8,
        "kind": "value",
        "lookup": {key: value for key, value in lookup.items() if value is not None},
    }
    return made | {key: value for key, value in changes.items() if not key.startswith("at_")}


PAIR = {"at_where": None, "at_a": {"method": "ours"}, "at_b": {"method": "theirs"}}
BOUNDS = {"at_low": "score_low", "at_high": "score_high", "at_n": "n"}


def judge(tmp_path, **changes):
    manifest = tmp_path / "expected.yaml"
    manifest.write_text(yaml.safe_dump({"claims": [entry(**changes)]}))
    (row,) = pd.read_csv(claims.write_claims("quick", manifest)).itertuples(index=False)
    return row


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "exact"),
        ({"paper_value": 0.81}, "contradicted"),
        ({"paper_value": 0.81, "tolerance": 0.02}, "reproduced"),
        ({"paper_value": 0.81, **BOUNDS}, "reproduced"),
        ({"paper_value": 0.83, **BOUNDS}, "contradicted"),
        ({"kind": "at_most", "paper_value": 0.9}, "reproduced"),
        ({"kind": "at_most", "paper_value": 0.7}, "contradicted"),
        ({"kind": "difference", **PAIR, "at_sign": "positive", "paper_value": 0.1}, "exact"),
        ({"kind": "difference", **PAIR, "at_sign": "positive", "paper_value": 0.3}, "direction"),
        ({"kind": "difference", **PAIR, "at_sign": "positive", "paper_value": None}, "direction"),
        ({"kind": "difference", **PAIR, "at_sign": "negative"}, "contradicted"),
        ({"domain": "simulated", "at_sign": "positive"}, "direction"),
        ({"domain": "simulated", "at_sign": "negative"}, "contradicted"),
        ({"domain": "simulated", "kind": "at_most"}, "direction"),
        ({"domain": "simulated", "kind": "at_most", "paper_value": 0.1}, "contradicted"),
        ({"at_where": {"method": "absent"}}, "not_testable_here"),
        ({"at_table": "table_absent"}, "not_testable_here"),
        ({"at_column": "hole"}, "not_testable_here"),
        ({"at_where": {"steps": 20}}, "exact"),
    ],
)
def test_verdicts(tmp_path, changes, verdict):
    assert judge(tmp_path, **changes).verdict == verdict


def test_the_columns_are_the_contracts(tmp_path, folder):
    judge(tmp_path)
    assert list(pd.read_csv(folder / "claims.csv").columns) == CONTRACT_COLUMNS


def test_a_claim_shows_our_number_interval_and_size(tmp_path):
    row = judge(tmp_path, **BOUNDS)
    assert (row.our_value, row.ci_low, row.ci_high, row.n) == (0.80, 0.78, 0.82, 40)
    assert row.evidence == "table_x.csv [method=ours] score"


def test_a_difference_carries_an_interval_that_is_never_too_narrow(tmp_path):
    row = judge(tmp_path, kind="difference", **PAIR, **BOUNDS, at_sign="positive")
    assert row.our_value == pytest.approx(0.10)
    assert (row.ci_low, row.ci_high) == pytest.approx((0.78 - 0.75, 0.82 - 0.65))
    assert row.n == 30
    assert "settle" not in row.evidence


def test_an_interval_with_zero_in_it_is_said(tmp_path, folder):
    TABLE.assign(score_low=TABLE["score"] - 0.2).to_csv(folder / "table_x.csv", index=False)
    row = judge(tmp_path, kind="difference", **PAIR, **BOUNDS, at_sign="positive", paper_value=0.9)
    assert row.ci_low < 0 < row.ci_high
    assert row.verdict == "direction"
    assert claims.UNSETTLED.format("zero") in row.evidence


@pytest.mark.parametrize(("limit", "settled"), [(0.77, True), (0.79, False), (0.83, True)])
def test_an_interval_with_the_bound_in_it_is_said(tmp_path, limit, settled):
    row = judge(tmp_path, kind="at_most", **BOUNDS, paper_value=limit)
    assert row.verdict == ("reproduced" if limit > 0.8 else "contradicted")
    assert (claims.UNSETTLED.format("the bound") not in row.evidence) == settled


def test_a_column_of_differences_needs_one_row(tmp_path):
    where = {"method": "gap"}
    row = judge(tmp_path, kind="difference", at_where=where, **BOUNDS, at_sign="positive")
    assert (row.our_value, row.ci_low) == (0.10, 0.02)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"at_where": {"method": "absent"}}, "table_x.csv has no row method=absent"),
        ({"at_where": {"method": "absent", "steps": 20}}, "has no row method=absent, steps=20"),
        ({"at_table": "table_absent"}, "table_absent.csv is not among this run's tables"),
        ({"at_column": "hole"}, "hole is empty"),
    ],
)
def test_the_evidence_says_what_is_missing(tmp_path, changes, reason):
    row = judge(tmp_path, **changes)
    assert reason in row.evidence
    assert pd.isna(row.our_value)


def test_simulated_statements_say_so(tmp_path):
    row = judge(tmp_path, domain="simulated", at_sign="positive")
    assert row.statement == "In simulation: It scores."
    row = judge(tmp_path, domain="simulated", at_sign="positive", statement="In simulation it is.")
    assert row.statement == "In simulation it is."


def test_on_real_radiographs_the_same_claim_is_held_to_the_papers_number(tmp_path, folder):
    made = paths.figures("chexpert")
    made.mkdir(parents=True)
    TABLE.to_csv(made / "table_x.csv", index=False)
    manifest = tmp_path / "expected.yaml"
    claim = entry(domain="simulated", at_sign="positive", paper_value=0.8)
    manifest.write_text(yaml.safe_dump({"claims": [claim]}))
    (real,) = pd.read_csv(claims.write_claims("chexpert", manifest)).itertuples(index=False)
    assert (real.domain, real.verdict) == ("real_radiographs", "exact")
    assert real.statement == "It scores."


@given(
    st.sampled_from(expected.KINDS),
    st.sampled_from(["positive", "negative"]),
    st.floats(-1, 1),
    st.floats(-1, 1),
)
def test_a_simulated_number_is_never_held_to_the_papers(kind, sign, ours, paper):
    lookup = expected.Lookup("table_x", "score", where={}, sign=sign)
    claim = expected.Claim("c", "s", "t", "simulated", kind, lookup, paper_value=paper)
    judged = claims.verdict(claim, claims.Reading(ours, ours - 1, ours + 1, 3, ""))
    assert judged in ("direction", "contradicted")
    if kind != "at_most":
        assert judged == ("direction" if ours * (1 if sign == "positive" else -1) > 0 else judged)
        moved = expected.Claim("c", "s", "t", "simulated", kind, lookup, paper_value=-paper)
        assert claims.verdict(moved, claims.Reading(ours, None, None, 3, "")) == judged


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sorce": "x"}, "unknown key 'sorce': did you mean source"),
        ({"at_colum": "x"}, "did you mean column"),
        ({"domain": "simulation"}, "did you mean simulated"),
        ({"kind": "atmost"}, "did you mean at_most"),
        ({"kind": "difference", **PAIR}, "sign is missing"),
        ({"kind": "difference", **PAIR, "at_sign": "up"}, "sign is 'up'"),
        (PAIR, "expected `where`"),
        ({"domain": "simulated"}, "not compared with the paper's"),
        ({"kind": "at_most", "paper_value": None}, "needs it as the bound"),
        ({"paper_value": "0.8"}, "expected a number"),
        ({"at_low": "score_low"}, "both low and high"),
        ({"at_column": "scor"}, "has no column 'scor': did you mean score"),
    ],
)
def test_a_misspelt_claim_is_an_error(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        judge(tmp_path, **changes)


def test_two_rows_for_one_claim_are_an_error(tmp_path):
    with pytest.raises(PrismError, match="expected one"):
        judge(tmp_path, at_where={"n": 30})


def test_ids_are_unique(tmp_path):
    manifest = tmp_path / "expected.yaml"
    manifest.write_text(yaml.safe_dump({"claims": [entry(), entry()]}))
    with pytest.raises(UsageError, match="two claims have the id 'c1'"):
        claims.write_claims("quick", manifest)


def test_no_manifest_is_no_claims(tmp_path):
    table = pd.read_csv(claims.write_claims("quick", tmp_path / "absent.yaml"))
    assert list(table.columns) == CONTRACT_COLUMNS
    assert len(table) == 0


def test_the_projects_own_claims_are_well_formed():
    for claim in expected.read_claims(paths.manifests() / "expected.yaml"):
        assert claim.statement and claim.source
