"""The page that a reviewer opens: claims first, then every table and figure with its notebook."""

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prismlib import paths
from prismlib.report.artefacts import Artefact, read_artefacts
from prismlib.report.claims import VERDICTS

MOST_ROWS = 60


@dataclass(frozen=True)
class Cell:
    """One cell of a shown table."""

    text: str
    number: bool
    paper: bool


@dataclass(frozen=True)
class Column:
    """One column's heading; `paper` where it holds the paper's values."""

    name: str
    paper: bool


@dataclass(frozen=True)
class Table:
    """What of a CSV is shown, and how many rows are not."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    hidden: int


@dataclass(frozen=True)
class Item:
    """One table or figure as it stands on the page; `picture` is a relative link."""

    name: str
    caption: str
    alt: str
    simulated: bool
    lost: tuple[str, ...]
    table: Table | None
    picture: str
    links: tuple[str, ...]
    seed: int
    device: str
    commit: str
    written: str


@dataclass(frozen=True)
class Section:
    """What one notebook made; `executed` is a relative link to the executed notebook, or empty."""

    notebook: str
    executed: str
    seconds: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class ShownClaim:
    """One row of `claims.csv`, its numbers as text."""

    id: str
    source: str
    statement: str
    domain: str
    verdict: str
    paper: str
    ours: str
    interval: str
    n: str
    evidence: str


@dataclass(frozen=True)
class Page:
    """Everything that the template shows."""

    profile: str
    description: str
    simulated: bool
    claims: tuple[ShownClaim, ...]
    counts: tuple[tuple[str, int], ...]
    sections: tuple[Section, ...]
    run: tuple[tuple[str, str], ...]


def write_site(profile: str, description: str = "") -> Path:
    """Write `figures/<profile>/index.html` from what lies there; give its path."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = collect(profile, description)
    path = paths.figures(profile) / "index.html"
    with paths.written_whole(path) as temporary:
        text = environment.get_template("index.html").render(page=page)
        temporary.write_text(text, encoding="utf-8")
    return path


def collect(profile: str, description: str = "") -> Page:
    """Gather claims, artefacts and the record of the run into one page."""
    folder = paths.figures(profile)
    run = _read_json(paths.runs(profile) / "run.json")
    artefacts = read_artefacts(folder)
    claims = tuple(_claims(folder / "claims.csv"))
    counts = Counter(claim.verdict for claim in claims)
    simulated = any(made.simulated for made in artefacts)
    return Page(
        profile=profile,
        description=description,
        simulated=simulated or any(claim.domain == "simulated" for claim in claims),
        claims=claims,
        counts=tuple((name, counts[name]) for name in VERDICTS if counts[name]),
        sections=tuple(_sections(artefacts, folder, profile, run)),
        run=tuple(_run_facts(run)),
    )


def read_table(path: Path, most_rows: int = MOST_ROWS) -> Table:
    """A CSV made fit to be shown: numbers to four digits, the paper's columns marked."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    columns = tuple(Column(name, name.split("_")[0] == "paper") for name in header)
    shown = tuple(
        tuple(
            Cell(show(text), _is_number(text), column.paper)
            for text, column in zip(row, columns, strict=True)
        )
        for row in rows[:most_rows]
    )
    return Table(columns, shown, max(0, len(rows) - most_rows))


def show(text: str) -> str:
    """A number with four significant digits, thousands set apart; any other text as it is."""
    if not _is_number(text):
        return text
    number = float(text)
    if not math.isfinite(number):
        return text
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:,.0f}" if abs(number) >= 1e4 else f"{number:.4g}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _claims(path: Path) -> Iterable[ShownClaim]:
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            low, high = row["ci_low"], row["ci_high"]
            yield ShownClaim(
                id=row["claim_id"],
                source=row["source"],
                statement=row["statement"],
                domain=row["domain"],
                verdict=row["verdict"],
                paper=show(row["paper_value"]),
                ours=show(row["our_value"]),
                interval=f"{show(low)} to {show(high)}" if low and high else "",
                n=show(row["n"]),
                evidence=row["evidence"],
            )


def _sections(
    artefacts: list[Artefact], folder: Path, profile: str, run: Mapping[str, Any]
) -> Iterable[Section]:
    for notebook in sorted({made.notebook for made in artefacts}):
        executed = paths.runs(profile) / f"{notebook}.ipynb"
        seconds = run.get("notebooks", {}).get(notebook, {}).get("seconds")
        yield Section(
            notebook=notebook,
            executed=_link(executed, folder) if executed.is_file() else "",
            seconds="" if seconds is None else f"{seconds:.0f}",
            items=tuple(_item(made, folder) for made in artefacts if made.notebook == notebook),
        )


def _item(made: Artefact, folder: Path) -> Item:
    lost = tuple(made.missing(folder))
    files = tuple(made.files)
    picture = next((name for name in files if name.endswith(".png")), "")
    return Item(
        name=made.name,
        caption=made.caption,
        alt=made.caption or f"Figure {made.name} of notebook {made.notebook}",
        simulated=made.simulated,
        lost=lost,
        table=read_table(folder / files[0]) if made.is_table and not lost else None,
        picture=picture,
        links=(*files, f"{made.name}.json"),
        seed=made.seed,
        device=made.device,
        commit=(made.commit or "unknown")[:12],
        written=made.written,
    )


def _run_facts(run: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key in ("profile", "commit", "device", "python", "seed", "started", "ended", "seconds"):
        if run.get(key) is not None:
            yield key, str(run[key])
    for notebook, facts in run.get("notebooks", {}).items():
        given = ", ".join(f"{key} = {value!r}" for key, value in facts["parameters"].items())
        yield notebook, f"{facts['seconds']:.0f} s ({given})"
    for name, digest in run.get("weights", {}).items():
        yield f"weights {name}", f"SHA-256 {digest}"
    for package, version in run.get("versions", {}).items():
        yield package, str(version or "not installed")


def _link(target: Path, folder: Path) -> str:
    return Path(os.path.relpath(target, folder)).as_posix()


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
