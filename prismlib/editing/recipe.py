"""What a recipe is: which inversion, how many steps, which attention control."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from prismlib.errors import UsageError

InversionKind = Literal[
    "identity",
    "autoencoder",
    "ddim",
    "negative-prompt",
    "null-text",
    "direct",
    "direct-shared",
    "edit-friendly",
    "virtual",
    "delta",
    "noise",
    "imagic",
]
AttentionKind = Literal["none", "prompt-to-prompt"]
NegativeKind = Literal["empty", "source"]
MaskKind = Literal["none", "given", "attention", "difference", "grounded"]

SHARES = (
    "cross_replace",
    "self_replace",
    "self_replace_from",
    "blend",
    "interpolation",
    "residual_floor",
    "detail",
    "object_detail",
)


@dataclass(frozen=True)
class Insistence:
    """How strongly an image is edited once more that the encoder does not read as asked.

    As asked is read what lies nearer to the target prompt than to the source prompt by `margin`, a
    difference of cosines. The rest takes the place of a recipe's own such settings.
    """

    guidance_scale: float
    detail: float
    margin: float


@dataclass(frozen=True)
class Recipe:
    """One way to make a counterfactual; the same for every subject and every task.

    `inversion` says how the radiograph's latents get to noise and how both branches come back:
    see `editing.inversion`, and `METHODS` in `editing.branches`. `identity` and `autoencoder` make
    no edit at all: they are the control rows of every table. `strength` is the share of the
    `steps` noise levels that are walked. `inner_steps` are null-text's, at each level.

    `guidance_scale` pushes the noise estimate away from the `negative` prompt: the empty one, or
    the source prompt; `source_guidance_scale`, if given, does so in the source branch, where that
    is asked for an estimate. With two scales the source prompt no longer returns the radiograph
    exactly. `cross_replace` is the share of the steps, from the noisiest on, during which
    prompt-to-prompt replaces the target's cross-attention; `self_replace` the same of its
    self-attention, which begins at `self_replace_from`. With a `sweep`, each of its values takes
    the place of `self_replace`, and the result with the largest S_CLIP is kept. `word_weight`
    multiplies the attention to changed words. `blend` above 0 is the threshold of local blending.
    `mask` says where the change may lie: anywhere, in a given mask, or in one found by attention,
    by the difference of two noise estimates, or by the model's grounding, which looks for what the
    source prompt says is there and the target prompt does not (`masks.grounded_masks`). Where a
    mask bounds the change, virtual inversion gives the target only the share `detail` of what the
    source's estimate misses of the known latents: what was there is partly in that, too.

    A device lies over the patient and no prompt says what is behind it, so the source's estimate
    misses most of it: where one is taken away, `object_detail` and `object_scale`, if given, are
    used in place of `detail` and `guidance_scale`.

    `imagic` inverts nothing: `inner_steps` fit the target's embedding to the image, `tuning_steps`
    the network, and `interpolation` is how far towards the target it then goes.

    With `insist`, an image that is not read as asked, composed residually, is edited once more and
    firmly, as that says, and the one of both is kept that lies nearer to the target prompt. So the
    others need not change more than they have to. Nobody insists where the grounding bounds nothing
    (`found_nothing`), nor where a device is taken away with an `object_scale` and `object_detail`
    of its own.

    With `context` both prompts are completed by what the image-text encoder sees of the attributes
    that neither speaks of (`editing.context`), so that these are held.

    With a `contour`, a share of an image's width, a composed change is given a border without the
    steps of the mask's cells (`contours.rounded`), save where a device is taken away.

    `residual` composes factual + decode(edited) - decode(reconstruction), which keeps what the
    autoencoder cannot render. Of that difference `residual_floor`, a share of full scale, drops
    what is fainter (see `masks.without_faint`): a change of tone far from the edit. With a
    `target_margin` it drops less, down to nothing, where that brings the target prompt nearer than
    the source prompt by so much, a difference of cosines (`reading.chosen_floors`). What the
    autoencoder cannot render has edges of what was there; `residual_limit`, a share of full scale,
    is how much of it stays at most where the edit changes more than that. With `only_darker`
    nothing that is composed becomes brighter where all that is asked is to take away what absorbs
    the beam (`claims.takes_density`): what is brighter is the model's own grain. An edit passes
    where S_CLIP >= `s_clip_threshold`. `seed` and the radiograph's content seed the noise of the
    inversions that draw any.
    """

    name: str
    inversion: InversionKind
    steps: int
    guidance_scale: float
    attention: AttentionKind = "none"
    cross_replace: float = 0.0
    self_replace: float = 0.0
    s_clip_threshold: float = 0.1
    residual: bool = False
    negative: NegativeKind = "empty"
    strength: float = 1.0
    inner_steps: int = 0
    self_replace_from: float = 0.0
    sweep: tuple[float, ...] = ()
    word_weight: float = 1.0
    blend: float = 0.0
    mask: MaskKind = "none"
    seed: int = 0
    tuning_steps: int = 0
    interpolation: float = 0.0
    source_guidance_scale: float | None = None
    residual_floor: float = 0.0
    context: bool = False
    target_margin: float | None = None
    detail: float = 1.0
    residual_limit: float | None = None
    object_detail: float | None = None
    object_scale: float | None = None
    only_darker: bool = False
    insist: Insistence | None = None
    contour: float = 0.0

    def __post_init__(self) -> None:
        for field, kinds in (
            ("inversion", InversionKind),
            ("attention", AttentionKind),
            ("negative", NegativeKind),
            ("mask", MaskKind),
        ):
            if getattr(self, field) not in get_args(kinds):
                raise self._error(field, f"one of {', '.join(get_args(kinds))}")
        for field in SHARES:
            if not 0.0 <= (getattr(self, field) or 0.0) <= 1.0:
                raise self._error(field, "a share, 0 to 1")
        if not all(0.0 <= value <= 1.0 for value in self.sweep):
            raise self._error("sweep", "shares of the steps, 0 to 1")
        if not 0.0 < self.strength <= 1.0:
            raise self._error("strength", "more than 0 and at most 1")
        if self.edits and self.steps < 1:
            raise UsageError(f"recipe {self.name!r}: got {self.steps} steps; expected 1 or more")
        if self.inversion == "negative-prompt" and self.negative != "source":
            raise self._error("negative", "source, which is what negative-prompt inversion is")
        if self.inversion == "delta" and self.negative != "source":
            raise self._error("negative", "source, whose estimate delta denoising starts from")
        for field in ("detail", "object_detail"):
            if getattr(self, field) not in (None, 1.0) and self.inversion != "virtual":
                raise self._error(field, "1: virtual inversion alone knows what it misses")
        if self.residual_limit is not None and not 0 < self.residual_limit <= 1:
            raise self._error("residual_limit", "None or a share above 0, at most 1")
        if not 0 <= self.contour <= 1 / 8 or (self.contour and self.mask == "none"):
            raise self._error("contour", "0, or with a mask at most 1/8 of an image's width")
        if self.target_margin is not None and not self.residual_floor:
            raise self._error("target_margin", "None without a residual_floor to come down from")
        if not (self.edits and self.inversion != "imagic") and (
            self.mask != "none" or self.controls or self.sweep
        ):
            raise UsageError(
                f"recipe {self.name!r}: {self.inversion} takes no mask, attention control or sweep"
            )
        if self.insist is not None:
            if self.sweep or self.inversion == "imagic" or not self.edits:
                raise self._error("insist", "None where nothing is guided, or a sweep is tried")
            if not -2 <= self.insist.margin <= 2:
                raise self._error("insist", "a margin from -2 to 2, a difference of cosines")
            _ = self.firmly  # is checked as any recipe
        if self.inversion in ("null-text", "imagic") and self.inner_steps < 1:
            raise self._error("inner_steps", f"1 or more for {self.inversion}")

    def _error(self, field: str, expected: str) -> UsageError:
        got = getattr(self, field)
        return UsageError(f"recipe {self.name!r}: {field} is {got!r}; expected {expected}")

    @property
    def edits(self) -> bool:
        """Whether the diffusion model takes part; the control recipes do without it."""
        return self.inversion not in ("identity", "autoencoder")

    @property
    def source_scale(self) -> float:
        """How far the source branch is guided."""
        given = self.source_guidance_scale
        return self.guidance_scale if given is None else given

    @property
    def scale_for_objects(self) -> float:
        """How far the target branch is guided where a device is taken away."""
        return self.guidance_scale if self.object_scale is None else self.object_scale

    @property
    def detail_for_objects(self) -> float:
        """The `detail` where a device is taken away."""
        return self.detail if self.object_detail is None else self.object_detail

    def found_nothing(self, mask_share: float) -> bool:
        """Whether the grounding was asked where to edit and said nothing: all cells may change."""
        return self.mask == "grounded" and mask_share == 1.0

    @property
    def firmly(self) -> "Recipe":
        """What an image is edited by once more, if the recipe insists; itself if it does not."""
        if self.insist is None:
            return self
        firm = self.insist
        return replace(self, insist=None, guidance_scale=firm.guidance_scale, detail=firm.detail)

    @property
    def controls(self) -> bool:
        """Whether attention is looked at or changed at all."""
        return self.attention != "none" or self.blend > 0
