"""How much of what captions say is left in their embeddings."""

import numpy as np
import pytest

from prismlib.errors import UsageError
from prismlib.measures.text_encoding import FOLDS, statements_kept

N = 240


@pytest.fixture
def captions():
    """Statements about two attributes, a third of them silent, and embeddings that hold noise."""
    rng = np.random.default_rng(0)
    asked = rng.integers(0, 2, (N, 2)).astype(float)
    asked[rng.random((N, 2)) < 1 / 3] = np.nan
    return asked, rng.standard_normal((N, 8)), [f"patient{i // 2}" for i in range(N)]


def test_what_is_written_into_an_embedding_is_told_and_what_is_not_is_guessed(captions):
    asked, embeddings, patients = captions
    embeddings[:, 3] += 8 * np.nan_to_num(asked[:, 0], nan=0.5)
    there, guessed = statements_kept(("held", "lost"), embeddings, asked, patients)
    assert there.balanced_accuracy > 0.98
    assert abs(guessed.balanced_accuracy - 0.5) < 0.12
    assert guessed.low < 0.5 < guessed.high
    assert there.n == (~np.isnan(asked[:, 0])).sum()
    assert there.n_positive == (asked[:, 0] == 1).sum()


def test_silent_captions_take_no_part(captions):
    asked, embeddings, patients = captions
    first = statements_kept(("a", "b"), embeddings, asked, patients)[0]
    embeddings[np.isnan(asked[:, 0])] = 1e3
    assert statements_kept(("a", "b"), embeddings, asked, patients)[0] == first


def test_the_reader_has_not_met_the_patients_whom_it_answers_for(captions):
    """Embeddings that only name the patient tell nothing of another one."""
    asked, _, patients = captions
    asked = np.repeat(asked[::2], 2, axis=0)
    named = np.repeat(np.eye(N // 2), 2, axis=0)
    assert statements_kept(("a", "b"), named, asked, patients)[0].balanced_accuracy < 0.65


def test_too_few_of_a_kind_give_no_number(captions):
    asked, embeddings, patients = captions
    asked[:, 1] = 1.0
    asked[: FOLDS - 1, 1] = 0.0
    row = statements_kept(("a", "b"), embeddings, asked, patients)[1]
    assert (row.n, row.n_positive) == (N, N - FOLDS + 1)
    assert np.isnan([row.balanced_accuracy, row.low, row.high]).all()


def test_other_shapes_are_refused(captions):
    asked, embeddings, patients = captions
    for wrong in ((embeddings[1:], asked, patients), (embeddings, asked, patients[1:])):
        with pytest.raises(UsageError, match=r"expected as many captions of each"):
            statements_kept(("a", "b"), *wrong)
