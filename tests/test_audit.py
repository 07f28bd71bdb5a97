"""The audit's numbers, against the paper and against counting by hand; the command as typed."""

import argparse
import gzip

import numpy as np
import pandas as pd
import pytest

from prismlib import paths
from prismlib.cohorts import audit
from prismlib.cohorts.labels import ATTRIBUTES, LABELS, POLICIES, frontal
from prismlib.cohorts.splits import paper_split
from prismlib.commands import audit as command
from prismlib.errors import UsageError
from prismlib.report.claims import write_claims


@pytest.fixture(scope="module")
def table_1(real_labels):
    return audit.table_1(real_labels)


@pytest.fixture(scope="module")
def majorities(real_labels):
    return audit.majority_table(real_labels, paper_split(real_labels))


def prism_audit(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def test_table_1_agrees_in_eleven_cells_and_differs_by_fifty_in_one(table_1):
    columns = ["split_recipe", "split", "attribute", "paper", "ours", "difference"]
    assert list(table_1.columns) == columns and len(table_1) == 24
    paper = table_1[table_1["split_recipe"] == "paper"]
    assert (paper["difference"] == 0).sum() == 11
    (odd,) = paper[paper["difference"] != 0].itertuples(index=False)
    assert tuple(odd) == ("paper", "train", "Cardiomegaly", 21888, 21838, -50)


def test_both_recipes_share_out_the_same_images(table_1):
    sums = table_1.groupby(["attribute", "split_recipe"])["ours"].sum().unstack()
    assert (sums["paper"] == sums["patient"]).all()


@pytest.mark.parametrize(
    ("attribute", "policy", "accuracy"),
    [
        ("No Finding", "u-ones", 0.9096),
        ("Cardiomegaly", "u-ones", 0.8424),
        ("Cardiomegaly", "u-zeros", 0.8790),
        ("Support Devices", "u-ones", 0.5652),
    ],
)
def test_majority_answers_on_the_papers_test_split(majorities, attribute, policy, accuracy):
    picked = majorities.query("split == 'test' and attribute == @attribute and policy == @policy")
    assert picked["majority_accuracy"].item() == pytest.approx(accuracy, abs=5e-5)


def test_the_printed_accuracies_stand_beside_the_majority(majorities):
    beside = audit.against_printed(majorities).set_index(["attribute", "policy"])
    assert len(beside) == len(ATTRIBUTES) * len(POLICIES)
    assert beside.loc[("No Finding", "u-ones"), "gain"] == pytest.approx(0.0004, abs=5e-5)
    assert beside.loc[("Cardiomegaly", "u-zeros"), "gain"] < 0
    assert beside.loc[("Cardiomegaly", "u-ones"), "gain_low"] > 0


def test_majority_by_hand():
    table = pd.DataFrame({"Edema": [1.0, 1.0, -1.0, 0.0, np.nan, np.nan]})
    rows = audit.majority_table(table, columns=["Edema"]).set_index("policy")
    assert rows["n"].to_dict() == {"u-zeros": 6, "u-ones": 6, "u-ignore": 5}
    assert rows["majority_accuracy"].to_dict() == pytest.approx(
        {"u-zeros": 4 / 6, "u-ones": 3 / 6, "u-ignore": 3 / 5}
    )
    assert rows.loc["u-zeros", "majority_answer"] == "absent"


def test_cooccurrence_by_hand():
    table = pd.DataFrame(
        {
            "Edema": [1.0] * 5 + [0.0] * 5,
            "Support Devices": [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, np.nan, np.nan, -1.0],
        }
    )
    pairs = audit.cooccurrence_table(table, columns=["Edema", "Support Devices"])
    row = pairs[pairs["given"] == "Edema"].iloc[0]
    assert (row["n_given"], row["n_other"], row["n_both"]) == (5, 5, 4)
    assert (row["share_with"], row["share_without"]) == (0.8, 0.2)
    assert row["odds_ratio"] == pytest.approx((4 / 1) / (1 / 4))
    assert row["share_difference"] == pytest.approx(0.6)


def test_odds_are_symmetric_on_the_real_table_and_devices_go_with_effusion(real_labels):
    pairs = audit.cooccurrence_table(frontal(real_labels), columns=ATTRIBUTES)
    odds = pairs.pivot(index="given", columns="other", values="odds_ratio")
    np.testing.assert_allclose(odds, odds.T)
    assert odds.loc["Pleural Effusion", "Support Devices"] == pytest.approx(1.838, abs=5e-4)


def test_leakage_of_a_given_split():
    table = pd.DataFrame({"Patient": list("aabbc"), "Study": list("12111")})
    split = pd.Series(["fold1", "fold2", "fold1", "fold2", "fold2"])
    rows = audit.leakage_table(table, {"mine": split}).set_index("level")
    assert rows.loc["patient", "image_share"] == pytest.approx(2 / 3)
    assert rows.loc["study", "images_shared"] == 1
    assert (rows["split"] == "fold2").all() and (rows["shared_with"] == "fold1").all()


def test_the_command_says_what_the_paper_does_not(capsys):
    assert prism_audit("chexpert") == 0
    said = capsys.readouterr().out
    assert "223,414 rows, 191,027 of them audited" in said
    leaking = next(line for line in said.splitlines() if " test " in line and "22,416" in line)
    assert leaking.split()[-1] == "78.2%"
    assert any(line.split()[-2:] == ["absent", "0.911"] for line in said.splitlines())
    assert max(map(len, said.splitlines())) <= 100


def test_the_command_takes_a_compressed_table_and_ones_own_split(tmp_path, chexpert_root, capsys):
    table = pd.read_csv(chexpert_root / "train.csv")
    table["fold"] = np.where(np.arange(len(table)) % 2, "train", "test")
    with gzip.open(tmp_path / "labels.csv.gz", "wt") as file:
        table.to_csv(file, index=False)
    assert prism_audit(tmp_path / "labels.csv.gz", "--split-column", "fold", "--all-labels") == 0
    said = capsys.readouterr().out
    assert "splits of column 'fold'" in said and all(label in said for label in LABELS)


def test_the_command_takes_a_table_with_one_label(tmp_path, capsys):
    lines = [f"{number},1," for number in range(20)]
    (tmp_path / "x.csv").write_text("subject_id,Edema,other\n" + "\n".join(lines))
    assert prism_audit(tmp_path / "x.csv") == 0
    said = capsys.readouterr().out
    assert "no column names the view" in said and "Co-occurrence" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.csv"], "does not exist"),
        (["chexpert", "--split-column", "fold"], "no column 'fold'"),
        (["chexpert", "--split-column", "Frontal/Lateral"], "expected two splits"),
    ],
)
def test_wrong_use_is_one_line_and_prints_nothing(words, message, capsys):
    with pytest.raises(UsageError, match=message) as caught:
        prism_audit(*words)
    assert "\n" not in str(caught.value) and not capsys.readouterr().out


def test_every_claim_about_the_label_table_finds_its_cell(
    real_labels, table_1, majorities, tmp_path, monkeypatch
):
    monkeypatch.setenv("PRISM_OUTPUT", str(tmp_path))
    folder = paths.figures("quick")
    folder.mkdir(parents=True)
    rows = frontal(real_labels)
    tables = {
        "table_1": table_1,
        "table_audit_leakage": audit.leakage_table(real_labels),
        "table_audit_majority": audit.against_printed(majorities),
        "table_audit_cooccurrence": audit.cooccurrence_table(rows, "u-ones", ATTRIBUTES),
    }
    for name, frame in tables.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    made = pd.read_csv(write_claims("quick"))
    made = made[made["domain"] == "label_table"].set_index("claim_id")["verdict"]
    contradicted = set(made.index[made == "contradicted"])
    assert contradicted == {
        "table_1_train_cardiomegaly", "audit_test_is_held_out", "audit_gain_cardiomegaly_u_zeros"
    }  # fmt: skip
    assert (made == "exact").sum() == 11 and "not_testable_here" not in set(made)
