"""The model card: what a set of weights is, written from the records of its training."""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any

from prismlib import paths
from prismlib.models.folding import fold_of
from prismlib.models.records import flat, read_records
from prismlib.models.whole_prompt import reads_whole_prompt

CARD = "README.md"

_HEAD = """\
---
license: mit
library_name: diffusers
pipeline_tag: text-to-image
tags: [chest-x-ray, counterfactual]
---

# {name}

A small latent diffusion model of frontal chest radiographs, with the image-text encoder and the
classifier that its counterfactuals are measured with. It exists so that the companion's code runs
from a fresh clone, with nothing to download.

**{domain} NOT FOR CLINICAL USE.**

- `pipeline/`: autoencoder, text encoder, tokenizer, U-Net and DDIM scheduler;
  `diffusers.StableDiffusionPipeline.from_pretrained(folder)` loads it{layout}{base}
- `clip/`: image-text encoder for S_CLIP (Equation 1);
  `transformers.CLIPModel.from_pretrained(folder)` loads it{second}
- `classifier/`: the independent judge, an EfficientNet with a head for each of the four attributes;
  `timm.create_model("local-dir:" + folder, pretrained=True)` loads it. Radiographs of 512 pixels
  are dealt to four channels of 256 (`torch.nn.functional.pixel_unshuffle`, 2), then 0.5 is taken
  off and 0.25 divided by; logits are calibrated, `thresholds` stand in `config.json`
- `biased_classifier/`: the same, trained on the subjects that the generator saw; what
  counterfactuals expose. `leaky_classifier/`, `strict_classifier/`: what a split by image is worth
- `guide_classifier/`: AlexNet's convolutions with a small head, devices only; it guides the
  baseline and never judges (timm knows it once `prismlib.models.alexnet` is imported){baseline}
- `reader/`: sex (logit) and age (years); `verifier/`: an embedding of whose radiograph it is;
  `measurer/`: measured signs, such as the cardiothoracic ratio and the height of fluid
{grounding}{familiarity}- `training/`: each part's record and loss curve

Weights are stored in float16 and load as float32. Bytes and SHA-256 of every file are in
`data_manifests/weights.yaml` and are checked at every load by name.
"""

_FOLDED = """;
  what that draws has {channels} channels, the pixels of squares of {fold}: with `output_type="pt"`,
  `torch.nn.functional.pixel_shuffle(images, {fold})` deals them out into the radiograph"""

_BASE = """
- `base_unet/`: the U-Net of normal subjects alone that fine-tuning began from;
  `diffusers.UNet2DConditionModel.from_pretrained(folder)` loads it"""

_SECOND = """
- `second_clip/`: another, from other patients; it selects nothing, so that
  S_CLIP can be reported by one that had no part in the choice"""

_BASELINE = """
- `ganterfactual/`: the baseline (Mertes et al. 2022), a CycleGAN that the classifier of the role
  `{guide}` guided. Two generators ({generator}, width {width}{depth})
  put {attribute} there or take them away at {size} pixels; the publication's are U-Nets of width 32
  at 512 pixels, trained for 20 epochs.
  `prismlib.models.ganterfactual.Ganterfactual.load(folder)` loads them"""

_FAMILIARITY = """\
- `familiarity/`: what the training radiographs look like to `classifier/`, by which `prism edit`
  says how far another lies from them; remade by `benchmarks/familiarity.py`
"""

_GROUNDING = """\
- `grounding/`: in which cells of the latents that lies which a sentence speaks of; a U-Net that
  began as the pipeline's and was taught where findings and devices lie in SIMULATED training
  subjects, so that the recipe `fast` changes those cells alone. Latents, timestep 0 and a
  sentence's embeddings go in, logits come out;
  `diffusers.UNet2DConditionModel.from_pretrained(folder)` loads it
"""

_SIMULATED = (
    "Every subject that these weights have seen is SIMULATED: drawn by a structural causal model,\n"
    "rendered, never imaged. What the model does to a real radiograph says nothing about a patient."
)
_SOME_REAL = (
    "All subjects but the autoencoder's {images} real radiographs are SIMULATED: drawn by a\n"
    "structural causal model, rendered, never imaged. The real ones are of ChestX-ray14, by\n"
    "courtesy of the NIH Clinical Center (Wang et al. 2017). What the model does to a real\n"
    "radiograph says nothing about a patient."
)
_REAL = "These weights were trained on real radiographs under their data set's own licence."

_BEFORE = (
    "A part with a line `before` went on from the weights of that line (`prism train --start`),\n"
    "which may have seen another version of the cohort: `data` in its record names it."
)

_EARLIER = {
    "start": "{part}, before",
    "text_tower_from": "{part}, text tower",
    "text_encoder_from": "pipeline/text_encoder",
}
"""What of a part's record tells of earlier trainings, and what the card calls those."""

_LIMITS = """\
## How it was made

`prism train vae`, `clip`, `unet`, `grounding`, `classifier`, each with `--export`, in this order.
The U-Net is trained by Algorithm 1 of the paper on paraphrased captions, with the autoencoder and
the text encoder frozen, and asked for the {asked}.{whole_prompt}{tower} Each classifier has a pool
of patients of its own (`prism train classifier --set role=...`), which no generator saw, save that
the biased one sees the generator's. No ImageNet weights could be had: to make good for them,
networks for attributes also learn each device kind and finding, on outputs that are then
dropped. What is measured above is measured on subjects of
the split `development`, on which classifiers were calibrated too; notebook 08 has the test list.

## Limits

- {autoencoder}
- How far the U-Net follows a prompt is measured, not assumed: see the tables `table_gallery`,
  `table_agreement` and `table_wording` of notebook 02 and `table_2` of notebook 04.
- Prompts are understood only in the words of the captions' vocabulary (findings of CheXpert,
  "severe", "lots of", "no", "without", device kinds); other words are spelled out and mean nothing.
- The image-text encoder, the grounding and the classifier know subjects like those above. On other
  radiographs their scores are not probabilities of anything.
"""

_ASKED = {"epsilon": "noise", "v_prediction": "velocity of Salimans and Ho (2022)"}

_WHOLE_PROMPT = """ Beside cross-attention at coarse scales
the prompt, pooled by attention, reaches every block through the timestep's embedding (diffusers'
`addition_embed_type`)."""

_TOWER = """ It reads with the text tower
of `clip/`, which is what `pipeline/text_encoder` is; trainings that lie further back may have read
with another text encoder, whose words were then mapped onto these."""

_BLURRED = """\
The autoencoder keeps the form of organs and large devices and blurs thin wires, noise and
  burned-in text; its PSNR above bounds every edit that does not compose residually."""
_LINEAR = """\
The autoencoder began as the principal components of squares of {fold} pixels; from there
{stages}
  It keeps thin wires and drops the finest grain; its latents are patches of picture, so that
  all meaning is left to the U-Net. Its PSNR above bounds every edit that does not compose
  residually."""


def write_card(folder: Path) -> Path:
    """Write `README.md` into a model folder from the records in its `training/`."""
    records = read_records(folder)
    second = _SECOND if (folder / "second_clip").is_dir() else ""
    known = _FAMILIARITY if (folder / "familiarity").is_dir() else ""
    channels = _channels(folder / "pipeline" / "vae" / "config.json")
    fold = fold_of(channels)
    finds = _GROUNDING if (folder / "grounding").is_dir() else ""
    head = _HEAD.format(
        name=folder.name,
        domain=_domain(records),
        second=second,
        familiarity=known,
        grounding=finds,
        base=_BASE if (folder / "base_unet").is_dir() else "",
        layout=_FOLDED.format(channels=channels, fold=fold) if fold > 1 else "",
        baseline=_baseline(folder / "ganterfactual" / "config.json"),
    )
    text = "\n".join(
        [
            head,
            "## Training\n",
            *_training(records),
            "",
            "## Measured on held-out subjects\n",
            *_measured(records),
            "",
            _LIMITS.format(
                autoencoder=_autoencoder(records, fold),
                asked=_asked(folder),
                whole_prompt=_whole_prompt(folder / "pipeline" / "unet" / "config.json"),
                tower=_tower(records),
            ),
        ]
    )
    with paths.written_whole(folder / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return folder / CARD


def _baseline(config: Path) -> str:
    if not config.is_file():
        return ""
    design = json.loads(config.read_text(encoding="utf-8"))
    depth = f", {design['blocks']} residual blocks" if design["generator"] == "resnet" else ""
    return _BASELINE.format(**design, depth=depth)


def _channels(config: Path) -> int:
    if not config.is_file():
        return 1
    return int(json.loads(config.read_text(encoding="utf-8"))["in_channels"])


def _asked(folder: Path) -> str:
    config = folder / "pipeline" / "scheduler" / "scheduler_config.json"
    kind = "epsilon"
    if config.is_file():
        kind = json.loads(config.read_text(encoding="utf-8"))["prediction_type"]
    return _ASKED.get(kind, kind)


def _whole_prompt(config: Path) -> str:
    if not config.is_file():
        return ""
    found = json.loads(config.read_text(encoding="utf-8"))
    return _WHOLE_PROMPT if reads_whole_prompt(found) else ""


def _tower(records: list[dict[str, Any]]) -> str:
    kept = [r for r in records if r["part"] == "clip" and r["settings"].get("freeze_text")]
    return _TOWER if kept else ""


def _autoencoder(records: list[dict[str, Any]], fold: int) -> str:
    for record in records:
        runs = [record, *_earlier(record)] if record["part"] == "vae" else []
        if any(run["settings"].get("linear") for run in runs):
            stages = fill(f"{_stages(runs)}.", 95, initial_indent="  ", subsequent_indent="  ")
            return _LINEAR.format(fold=fold, stages=stages)
    return _BLURRED


def _stages(runs: list[dict[str, Any]]) -> str:
    """In words, oldest first: what of an autoencoder its runs, newest first, trained how long."""
    phrases = []
    for (what, how), stage in groupby(reversed(runs), _what_and_how):
        steps = sum(run["steps"] for run in stage)
        phrases.append(f"{what} was trained for {steps} step{'' if steps == 1 else 's'}{how}")
    return ", then ".join(phrases)


def _what_and_how(run: dict[str, Any]) -> tuple[str, str]:
    if run["settings"].get("decoder_only"):
        return "its decoder alone", ""
    held = run["settings"].get("keep_latents")
    return "all of it", " with its latents held near what they were" if held else ""


def _domain(records: list[dict[str, Any]]) -> str:
    if not all(record["simulated"] for record in records):
        return _REAL
    real = [record["real"]["images"] for record in records if record.get("real")]
    return _SOME_REAL.format(images=max(real)) if real else _SIMULATED


def _earlier(record: dict[str, Any], left_alone: bool = True) -> Iterator[dict[str, Any]]:
    """All trainings before its own that a part's weights come from, each with what it is called.

    Those of the pipeline's text encoder only where what came later left it alone.
    """
    left_alone = left_alone and record["settings"].get("keep_text_encoder", False)
    for key, name in _EARLIER.items():
        if key == "text_encoder_from" and not left_alone:
            continue
        for found in record.get(key) or []:
            before = {**found, "part": name.format(part=record["part"])}
            yield before
            yield from _earlier(before, left_alone)


def _each_once(earlier: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each training once, by the first name that it is given.

    A tower may have been kept of what its part went on from: then both are one training.
    """
    seen: list[dict[str, Any]] = []
    for record in earlier:
        unnamed = {**record, "part": None}
        if unnamed not in seen:
            seen.append(unnamed)
            yield record


def _training(records: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| part | images | patients | steps | batch | minutes | hardware |",
        "|---|--:|---|--:|--:|--:|---|",
    ]
    earlier = [before for record in records for before in _each_once(_earlier(record))]
    for record in sorted([*records, *earlier], key=lambda record: record["part"]):
        batch = record["settings"]["batch_size"] * record["settings"]["accumulation"]
        lines.append(
            f"| {record['part']} | {record['images']} | {record['first_patient']} to "
            f"{record['last_patient']} | {record['steps']} | {batch} | {record['minutes']} | "
            f"{record['device']} |"
        )
    if any(record.get("start") for record in records):
        lines += ["", _BEFORE]
    return lines


def _measured(records: list[dict[str, Any]]) -> list[str]:
    lines = ["| part | measure | value |", "|---|---|--:|"]
    for record in records:
        lines += [
            f"| {record['part']} | {name} | {value:.3f} |"
            for name, value in flat(record["measured"]).items()
        ]
    return lines
