"""What every picture of `prism edit` says of itself: made by whom, how, and not for use."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prismlib import __version__
from prismlib.commands.edit_requests import Request

if TYPE_CHECKING:
    from prismlib.commands.edit_results import Result

DISCLAIMER = "SYNTHETIC, not for clinical use"
SOFTWARE = f"prismlib {__version__}"


def marks(result: "Result", provenance: Mapping[str, Any], title: str) -> dict[str, str]:
    """The text fields of a PNG, by keyword.

    No time of making is among them: the same request on the same machine gives the same bytes.
    """
    request, model = result.request, provenance["model"]
    return {
        "Title": f"{title}: {DISCLAIMER}",
        "Disclaimer": DISCLAIMER,
        "Software": SOFTWARE,
        "Source prompt": request.source,
        "Target prompt": request.target,
        "Context of both prompts": result.counterfactual.context or "none",
        "Recipe": request.recipe,
        "Model": str(model["name"]),
        "Model weights SHA-256": str(model["weights_sha256"]),
        "Input SHA-256": result.input_sha256,
        "S_CLIP": verdict(result),
        "Unfamiliarity": unfamiliarity(result),
    }


def verdict(result: "Result") -> str:
    """S_CLIP with whether it was enough."""
    edited = result.counterfactual
    passed = "passed" if edited.passed else "NOT PASSED"
    return f"{edited.s_clip:.3f}, {passed} (threshold {edited.recipe.s_clip_threshold:g})"


def unfamiliarity(result: "Result") -> str:
    """How far the input lies from the training cohort, with what to hold that against."""
    found = result.unfamiliarity
    if found is None:
        return "not measured: nothing is known of this model's training radiographs"
    return found.sentence


def prompts(request: Request) -> str:
    """Both prompts in one sentence."""
    return f'from "{request.source}" to "{request.target}"'
