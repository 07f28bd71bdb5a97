"""Reconstructions: the autoencoder is the bound, direct inversion reaches it, DDIM does not."""

import numpy as np
import pytest
import torch

from prismlib.editing.reconstruction import autoencoded, reconstruct
from prismlib.errors import UsageError

PROMPTS = ["severe pleural effusion", "chest xray of the patient", "no finding"]


@pytest.fixture(scope="module")
def images():
    return list(np.random.default_rng(2).random((3, 64, 64), dtype=np.float32))


@pytest.fixture(scope="module")
def bound(model, images):
    return reconstruct(model, images, PROMPTS, "autoencoder")


def test_the_autoencoder_encodes_and_decodes(model, images, bound):
    latents = model.encode(torch.from_numpy(np.stack(images))[:, None])
    for made, expected in zip(bound, model.decode(latents), strict=True):
        np.testing.assert_allclose(made.image, expected[0].numpy(), atol=1e-5)
        assert made.nfe == 0 and made.method == "autoencoder"


def test_images_encoded_and_decoded_alone_are_that_bound(model, images, bound):
    for batch_size in (1, 3):
        for image, expected in zip(autoencoded(model, images, batch_size), bound, strict=True):
            np.testing.assert_allclose(image, expected.image, atol=1e-5)
    assert autoencoded(model, []) == []


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_direct_inversion_reaches_the_bound_and_ddim_does_not(model, images, bound, guidance_scale):
    direct = reconstruct(model, images, PROMPTS, "direct", 4, guidance_scale)
    ddim = reconstruct(model, images, PROMPTS, "ddim", 4, guidance_scale)
    for best, exact, drifted in zip(bound, direct, ddim, strict=True):
        np.testing.assert_allclose(exact.image, best.image, atol=1e-3)
        assert np.abs(drifted.image - best.image).max() > 3e-3


def test_evaluations_are_counted_where_they_are_made(model, images, evaluations):
    for method in ("autoencoder", "ddim", "direct"):
        for guidance_scale in (1.0, 3.0):
            evaluations.clear()
            made = reconstruct(model, images, PROMPTS, method, 3, guidance_scale)
            assert made[0].nfe == sum(evaluations) // 3


def test_the_batch_size_does_not_matter(model, images):
    together = reconstruct(model, images, PROMPTS, "ddim", 4, batch_size=3)
    apart = reconstruct(model, images, PROMPTS, "ddim", 4, batch_size=2)
    for a, b in zip(together, apart, strict=True):
        np.testing.assert_allclose(a.image, b.image, atol=1e-4)


def test_wrong_requests_are_refused(model, images):
    with pytest.raises(UsageError, match="'null'"):
        reconstruct(model, images, PROMPTS, "null")
    with pytest.raises(UsageError, match="3 images and 2 prompts"):
        reconstruct(model, images, PROMPTS[:2], "ddim")
