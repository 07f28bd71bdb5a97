"""The structural causal model: its label table is CheXpert's, and do() does what it says."""

import dataclasses
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prismlib.cohorts.chexpert import bundled_labels
from prismlib.cohorts.labels import LABELS, frontal
from prismlib.cohorts.phantom import graph
from prismlib.cohorts.phantom.interventions import intervene, total
from prismlib.cohorts.phantom.population import Equation, Population, fitted
from prismlib.cohorts.phantom.reporting import band, report_labels
from prismlib.cohorts.phantom.scm import Sample, sample, sample_subject
from prismlib.cohorts.phantom.subject import DEVICE_KINDS, FINDINGS, IMPLANTS, LINES, Subject
from prismlib.errors import UsageError

SEED, N = 0, 50_000
PAIRED = ("AP", "Support Devices", "Pleural Effusion", "Cardiomegaly", "Edema", "Pneumothorax")
names = st.sampled_from([*FINDINGS, "Support Devices", *DEVICE_KINDS])
numbers = st.integers(0, 10_000)


def table_of(drawn: Sample) -> pd.DataFrame:
    views = np.where(drawn.background.ap, "AP", "PA")
    return pd.DataFrame({"AP/PA": views, **drawn.labels()})


def log_odds(one, other) -> float:
    one, other = np.asarray(one, bool), np.asarray(other, bool)
    cells = [one & other, ~one & ~other, one & ~other, ~one & other]
    both, neither, first, second = (cell.sum() + 0.5 for cell in cells)
    return float(np.log(both * neither / (first * second)))


def positives(table: pd.DataFrame) -> dict[str, np.ndarray]:
    columns = {label: (table[label] == 1).to_numpy() for label in LABELS}
    return {"AP": (table["AP/PA"] == "AP").to_numpy(), **columns}


@pytest.fixture(scope="module")
def chexpert() -> pd.DataFrame:
    rows = frontal(bundled_labels())
    return rows[(rows["Age"] >= 18) & rows["AP/PA"].isin(("AP", "PA"))]


@pytest.fixture(scope="module")
def drawn() -> Sample:
    return sample(SEED, "train", np.arange(N))


@pytest.fixture(scope="module")
def table(drawn: Sample) -> pd.DataFrame:
    return table_of(drawn)


@pytest.mark.parametrize("view", ["AP", "PA"])
def test_rates_are_chexperts_in_each_view(table, chexpert, view: str) -> None:
    ours, theirs = (rows[rows["AP/PA"] == view] for rows in (table, chexpert))
    for label in LABELS:
        rate = (theirs[label] == 1).mean()
        assert (ours[label] == 1).mean() == pytest.approx(rate, abs=max(0.005, 0.1 * rate)), label
        for value in (-1, 0):
            rate = (theirs[label] == value).mean()
            off = abs((ours[label] == value).mean() - rate)
            assert off < max(0.01, 0.12 * rate), (label, value)


def test_odds_ratios_are_chexperts(table, chexpert) -> None:
    ours, theirs = positives(table), positives(chexpert)
    for place, one in enumerate(PAIRED):
        for other in PAIRED[place + 1 :]:
            expected = log_odds(theirs[one], theirs[other])
            assert log_odds(ours[one], ours[other]) == pytest.approx(expected, abs=0.25)


def test_pairs_that_chexpert_never_has_do_not_occur(table, chexpert) -> None:
    """Of all pairs of labels and values, those absent there though ten would be expected."""
    for place, one in enumerate(LABELS):
        for other in LABELS[place + 1 :]:
            counts = pd.crosstab(chexpert[one].fillna(9), chexpert[other].fillna(9))
            expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / len(chexpert)
            for row, column in np.argwhere((counts.to_numpy() == 0) & (expected > 10)):
                a, b = counts.index[row], counts.columns[column]
                both = (table[one].fillna(9) == a) & (table[other].fillna(9) == b)
                assert not both.any(), (one, a, other, b)
    clear = table[table["No Finding"] == 1]
    assert len(clear) > 1000 and not clear[list(FINDINGS)].isin((1, -1)).any(axis=None)
    assert (clear["Support Devices"] == 1).mean() > 0.2


def test_fifty_thousand_are_drawn_without_waiting() -> None:
    start = time.perf_counter()
    table_of(sample(1, "test", np.arange(N)))
    assert time.perf_counter() - start < 20


def test_one_at_a_time_in_any_order_is_all_at_once(drawn: Sample, table) -> None:
    for index in (40_321, 63, 64, 7, 0):
        subject = sample_subject(SEED, "train", index)
        assert subject == drawn.subject(index)
        pd.testing.assert_series_equal(
            pd.Series(report_labels(subject)), table.loc[index, list(LABELS)].astype(float),
            check_names=False,
        )  # fmt: skip
    assert sample(SEED, "train", [9, 3]).subject(1) == drawn.subject(3)
    assert sample(SEED, "test", [3]).subject(0) != dataclasses.replace(
        drawn.subject(3), split="test"
    )


def test_patients_are_adults_with_several_studies(drawn: Sample, chexpert) -> None:
    b = drawn.background
    assert b.years.min() >= 18 and b.years.max() <= 90
    assert b.years.mean() == pytest.approx(chexpert["Age"].mean(), abs=0.7)
    sizes = pd.Series(b.patient).value_counts()
    assert 1.9 < sizes.mean() < 2.6
    assert (sizes == 1).mean() == pytest.approx(0.51, abs=0.03) and sizes.max() == 6
    assert (b.study == np.arange(N) - b.patient).all() and b.study.min() == 0


def test_what_is_chronic_persists_and_what_is_acute_resembles(drawn: Sample) -> None:
    b = drawn.background
    later = b.patient[1:] == b.patient[:-1]
    chronic = {"age": b.years, "sex": b.upstream["male"], "habitus": b.upstream["habitus"],
               "heart": drawn.severity["Cardiomegaly"],
               **{kind: drawn.devices[kind] for kind in IMPLANTS}}  # fmt: skip
    for name, values in chronic.items():
        assert (values[1:] == values[:-1])[later].all(), name
    assert not (b.upstream["acuity"][1:] == b.upstream["acuity"][:-1]).any()
    for finding in ("Pleural Effusion", "Edema", "Pneumothorax"):
        present = drawn.severity[finding] > 0
        assert (present[1:] != present[:-1])[later].mean() > 0.02
        assert log_odds(present[1:][later], present[:-1][later]) > 1
        assert abs(log_odds(present[1:][~later], present[:-1][~later])) < 0.15


def test_truth_and_report_are_distinct_and_mild_findings_are_missed(drawn: Sample, table) -> None:
    for finding in FINDINGS:
        severity, label = drawn.severity[finding], table[finding]
        bands = [(0, 0.3), (0.3, 0.65), (0.65, 2)]
        inside = [(severity > low) & (severity < high) for low, high in bands]
        called = [(label == 1)[rows].mean() for rows in inside]
        unsure = [(label == -1)[rows].mean() for rows in inside]
        assert called[0] < called[1] < called[2], finding
        assert unsure[0] > unsure[2], finding
        assert called[2] > 0.6 and called[0] < 0.85
        if finding != "Lung Opacity":  # a word that other findings are called by too
            assert (label == 1)[severity == 0].mean() < 0.012
    assert table["Support Devices"].eq(1)[~np.any(list(drawn.devices.values()), axis=0)].sum() == 0


def test_severity_reaches_down_to_what_is_barely_visible(drawn: Sample) -> None:
    for finding in FINDINGS:
        severity = drawn.severity[finding][drawn.severity[finding] > 0]
        assert severity.min() < 0.08 and severity.max() > 0.9
        assert 0.15 < (severity < 0.3).mean() < 0.5
    values = (0, 0.04, 0.299, 0.3, 0.649, 0.65, 1)
    assert [band(value) for value in values] == [
        "absent", "hard", "hard", "usual", "usual", "easy", "easy",
    ]  # fmt: skip


def test_device_mix_is_above_the_lower_bounds(drawn: Sample) -> None:
    ap = drawn.background.ap
    bounds = {"nasogastric_tube": (27.3, 0.2), "central_line": (25.9, 0.3),
              "endotracheal_tube": (12.7, 0.02), "pacemaker": (3.6, 1.9),
              "sternal_wires": (2.2, 1.6), "chest_drain": (1.7, 0.2)}  # fmt: skip
    for kind, (bedside, upright) in bounds.items():
        assert 100 * drawn.devices[kind][ap].mean() >= bedside
        assert 100 * drawn.devices[kind][~ap].mean() >= upright
    cable = drawn.devices["external_cable"]
    assert 0 < cable.mean() < 0.04 and cable[ap].mean() > 5 * cable[~ap].mean()


def severed(effect: str, *causes: str) -> Population:
    """The population without the arrows from `causes` to a finding or device."""
    people = fitted()
    group = "findings" if effect in FINDINGS else "devices"
    equations: dict[str, Equation] = dict(getattr(people, group))
    kept = {
        part: {k: v for k, v in getattr(equations[effect], part).items() if k not in causes}
        for part in ("weights", "causes")
    }
    equations[effect] = dataclasses.replace(equations[effect], **kept)
    return dataclasses.replace(people, **{group: equations})


def fluid_and_lines(drawn: Sample) -> float:
    """The log odds ratio of effusion and lines at the bedside, in those without other causes."""
    alike = drawn.background.ap & (drawn.severity["Edema"] == 0)
    alike &= np.abs(drawn.background.upstream["age"]) < 1.5
    effusion = drawn.severity["Pleural Effusion"][alike] > 0
    return log_odds(effusion, drawn.devices["central_line"][alike])


def test_without_acuitys_arrow_effusion_and_devices_are_independent(drawn: Sample) -> None:
    assert fluid_and_lines(drawn) > 0.35
    cut = sample(SEED, "train", np.arange(N), population=severed("Pleural Effusion", "acuity"))
    assert abs(fluid_and_lines(cut)) < 0.08


@pytest.mark.parametrize(
    ("cause", "effect"), [("Pneumothorax", "chest_drain"), ("Cardiomegaly", "pacemaker")]
)
def test_severing_a_real_arrow_severs_the_dependence(cause: str, effect: str) -> None:
    common = ("age", "male", "frailty", "acuity")
    with_arrow, without = (
        sample(SEED, "train", np.arange(4 * N), population=severed(effect, *common, *causes))
        for causes in ((), (cause,))
    )
    alike = with_arrow.background.ap & (with_arrow.background.study == 0)
    ratios = [
        log_odds(drawn.severity[cause][alike] > 0, drawn.devices[effect][alike])
        for drawn in (with_arrow, without)
    ]
    assert ratios[0] > 1 and abs(ratios[1]) < 0.25


def test_the_graph_has_the_arrows_it_should_and_no_others() -> None:
    nodes, edges = graph.nodes(), graph.edges()
    assert set(FINDINGS) | set(DEVICE_KINDS) | {"acuity", "view"} <= set(nodes)
    assert {("Pneumothorax", "chest_drain"), ("Cardiomegaly", "pacemaker")} <= set(edges)
    assert {("acuity", "Pleural Effusion"), ("acuity", "central_line")} <= set(edges)
    assert not graph.descendants("Pleural Effusion") & set(DEVICE_KINDS)
    assert all(graph.descendants(name) & {name} == set() for name in nodes), "a cycle"
    assert nodes["acuity"].hidden and not nodes["age"].hidden
    assert len({node.place for node in nodes.values()}) == len(nodes)


@given(number=numbers, name=names, form=st.sampled_from([intervene, total]))
@settings(deadline=None, max_examples=80)
def test_do_of_what_is_already_so_changes_nothing(number: int, name: str, form) -> None:
    subject = sample_subject(0, "train", number)
    if name in FINDINGS:
        value = float(subject.severity[name] > 0)
    elif name == "Support Devices":
        value = float(bool(subject.devices))
    else:
        value = float(name in subject.devices)
    assert form(subject, {name: value}) == subject


@given(number=numbers, finding=st.sampled_from(FINDINGS), kind=st.sampled_from(DEVICE_KINDS))
@settings(deadline=None, max_examples=60)
def test_direct_interventions_on_findings_and_devices_commute(number, finding, kind) -> None:
    subject = sample_subject(0, "train", number)
    one = intervene(intervene(subject, {finding: 1}), {kind: 1})
    assert one == intervene(intervene(subject, {kind: 1}), {finding: 1})
    assert one == intervene(subject, {finding: 1, kind: 1})
    assert one.devices == subject.devices | {kind} and one.severity[finding] > 0
    assert one.severity[finding] == (subject.severity[finding] or subject.potential[finding])


@given(number=numbers, name=st.sampled_from(FINDINGS), severity=st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_total_interventions_reach_descendants_and_nothing_else(number, name, severity) -> None:
    subject = sample_subject(0, "train", number)
    direct, other = (form(subject, {name: severity}) for form in (intervene, total))
    reached = graph.descendants(name)
    moved = {f for f in FINDINGS if other.severity[f] != direct.severity[f]}
    assert moved | (other.devices ^ direct.devices) <= reached
    assert direct.devices == subject.devices
    assert {f for f in FINDINGS if direct.severity[f] != subject.severity[f]} <= {name}
    still = dataclasses.replace(other, severity=subject.severity, devices=subject.devices)
    assert still == subject


def first(holds) -> Subject:
    return next(s for s in (sample_subject(2, "test", n) for n in range(6000)) if holds(s))


def test_draining_devices_follow_in_the_total_form_only() -> None:
    subject = first(lambda s: s.severity["Pneumothorax"] > 0.6 and "chest_drain" in s.devices)
    assert "chest_drain" in intervene(subject, {"Pneumothorax": 0}).devices
    assert "chest_drain" not in total(subject, {"Pneumothorax": 0}).devices
    held = total(subject, {"Pneumothorax": 0, "chest_drain": 1})
    assert "chest_drain" in held.devices
    cleared = total(subject, {"No Finding": 1, "chest_drain": 1})
    assert "chest_drain" in cleared.devices and cleared.no_finding


def test_removing_effusion_leaves_devices_in_both_forms() -> None:
    for number in range(200):
        subject = sample_subject(0, "test", number)
        assert total(subject, {"Pleural Effusion": 0}).devices == subject.devices


def test_report_follows_the_counterfactual_with_its_own_noise() -> None:
    subject = first(lambda s: s.severity["Pleural Effusion"] > 0.8 and not s.no_finding)
    before = report_labels(subject)
    assert before["Pleural Effusion"] == 1
    cleared = report_labels(intervene(subject, {"No Finding": 1, "Support Devices": 0}))
    assert cleared["Support Devices"] != 1
    without_devices = report_labels(intervene(subject, {"Support Devices": 0}))
    for label in set(LABELS) - {"Support Devices"}:
        np.testing.assert_equal(without_devices[label], before[label])


@pytest.mark.parametrize("strength", [0.5, 0.75, 0.9, 1.0])
def test_spurious_strength_is_the_chance_of_agreement(strength: float) -> None:
    tied = sample(4, "train", np.arange(20_000), strength)
    effusion = tied.severity["Pleural Effusion"] > 0
    lines = np.any([tied.devices[kind] for kind in LINES], axis=0)
    assert (effusion == lines).mean() == pytest.approx(strength, abs=0.015)
    heart, pacemaker = tied.severity["Cardiomegaly"] > 0, tied.devices["pacemaker"]
    assert (heart == pacemaker).mean() == pytest.approx(strength, abs=0.02)
    if strength == 0.5:
        assert abs(log_odds(effusion, lines)) < 0.1 and abs(log_odds(heart, pacemaker)) < 0.25
    natural = sample(4, "train", np.arange(20_000))
    for finding in FINDINGS:
        np.testing.assert_array_equal(natural.severity[finding], tied.severity[finding])


@pytest.mark.parametrize("form", [intervene, total])
@pytest.mark.parametrize(
    "intervention",
    [{"Pneumonja": 0}, {"Pleural Effusion": 2}, {"pacemaker": 0.5}, {"No Finding": 0}],
)
def test_senseless_interventions_are_refused(intervention, form) -> None:
    with pytest.raises(UsageError):
        form(sample_subject(0, "train", 0), intervention)


def test_an_unknown_strength_is_refused() -> None:
    with pytest.raises(UsageError, match="spurious"):
        sample_subject(0, "train", 0, 0.6)


def test_do_support_devices_and_no_finding() -> None:
    subject = first(lambda s: not s.devices and not s.no_finding)
    loaded = intervene(subject, {"Support Devices": 1})
    assert loaded.devices == subject.potential_devices and len(loaded.devices) >= 2
    assert intervene(loaded, {"Support Devices": 0}) == subject
    assert intervene(subject, {"No Finding": 1}).no_finding
    assert total(subject, {"No Finding": 1}).severity == dict.fromkeys(FINDINGS, 0.0)
