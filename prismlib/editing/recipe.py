"""Recipes: which inversion, how many steps, which attention control make a counterfactual."""

import difflib
from dataclasses import dataclass
from typing import Literal, get_args

from prismlib.errors import UsageError

InversionKind = Literal["identity", "autoencoder", "ddim", "direct", "direct-shared"]
AttentionKind = Literal["none", "prompt-to-prompt"]
NegativeKind = Literal["empty", "source"]


@dataclass(frozen=True)
class Recipe:
    """One way to make a counterfactual; the same for every subject and every task.

    `inversion`: `ddim` lets the source branch drift as it may; `direct` adds the stored offsets
    to the source branch alone (Ju et al. 2023); `direct-shared` adds them to both branches, so
    that the source prompt as target gives back the encoded image exactly. `identity` and
    `autoencoder` make no edit at all: they are the control rows of every table.

    `guidance_scale` pushes the noise estimate away from the `negative` prompt: the empty one, or
    the source prompt. `cross_replace` and `self_replace` are the shares of the steps, from the
    noisiest on, during which prompt-to-prompt replaces the target's cross- and self-attention.
    `residual` composes factual + decode(edited) - decode(reconstruction), which keeps what the
    autoencoder cannot render. An edit passes where S_CLIP >= `s_clip_threshold`.
    """

    name: str
    inversion: InversionKind
    steps: int
    guidance_scale: float
    attention: AttentionKind
    cross_replace: float
    self_replace: float
    s_clip_threshold: float = 0.1
    residual: bool = False
    negative: NegativeKind = "empty"

    def __post_init__(self) -> None:
        for field, kinds in (
            ("inversion", InversionKind),
            ("attention", AttentionKind),
            ("negative", NegativeKind),
        ):
            if getattr(self, field) not in get_args(kinds):
                raise UsageError(
                    f"recipe {self.name!r}: {field} is {getattr(self, field)!r}; "
                    f"expected one of {', '.join(get_args(kinds))}"
                )
        for field in ("cross_replace", "self_replace"):
            if not 0.0 <= getattr(self, field) <= 1.0:
                raise UsageError(
                    f"recipe {self.name!r}: {field} is {getattr(self, field)}; "
                    "expected a share of the steps, 0 to 1"
                )
        if self.edits and self.steps < 1:
            raise UsageError(f"recipe {self.name!r}: got {self.steps} steps; expected 1 or more")

    @property
    def edits(self) -> bool:
        """Whether the diffusion model takes part; the control recipes do without it."""
        return self.inversion not in ("identity", "autoencoder")


RECIPES = {
    "paper": Recipe("paper", "ddim", 50, 3.0, "none", 0.0, 0.0),
    "fast": Recipe("fast", "direct", 20, 5.0, "prompt-to-prompt", 0.2, 0.2, residual=True),
}
"""`paper`: what section 2.3 describes; `fast`: direct inversion with prompt-to-prompt and residual
composition, its numbers chosen once on development subjects."""

CONTROLS = {
    "identity": Recipe("identity", "identity", 0, 1.0, "none", 0.0, 0.0),
    "autoencoder": Recipe("autoencoder", "autoencoder", 0, 1.0, "none", 0.0, 0.0),
}
"""What every method is held against: doing nothing, and encoding and decoding alone."""


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; raises UsageError, with the nearest name, where there is none."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(RECIPES)}"
    raise UsageError(f"got the recipe {name!r}; {hint}")
