"""Where a notebook puts its tables and figures, each with a sidecar that says what made it."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prismlib import paths
from prismlib.errors import PrismError
from prismlib.report import provenance

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SIMULATED = "SIMULATED"
STAMP_COLOUR = "#b3261e"
_NAME = re.compile(r"(table|fig)_[a-z0-9][a-z0-9_]*")


@dataclass(frozen=True)
class Artefact:
    """The sidecar of one table or figure: which files it is, and what made them.

    `inputs` maps what was read to its SHA-256, `files` the artefact's own file names to theirs;
    `seconds` is the time from the notebook's `Report.open` to the moment of saving.
    """

    name: str
    notebook: str
    profile: str
    seed: int
    simulated: bool
    caption: str
    files: Mapping[str, str]
    inputs: Mapping[str, str]
    commit: str | None
    device: str
    seconds: float
    written: str

    @property
    def is_table(self) -> bool:
        """Whether this is a table rather than a figure."""
        return self.name.startswith("table_")

    @classmethod
    def read(cls, sidecar: Path) -> "Artefact":
        """Read a sidecar; a torn or foreign one raises `PrismError`."""
        try:
            return cls(**json.loads(sidecar.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise PrismError(
                f"{sidecar} is not a sidecar of this project ({error}); run its notebook again"
            ) from error

    def missing(self, folder: Path) -> list[str]:
        """The files of this artefact that are gone from `folder` or no longer what was written."""
        return [
            name
            for name, digest in self.files.items()
            if not (folder / name).is_file() or paths.sha256(folder / name) != digest
        ]


def read_artefacts(folder: Path) -> list[Artefact]:
    """The artefacts in a profile's folder: tables and figures, by notebook and name."""
    sidecars = [*folder.glob("table_*.json"), *folder.glob("fig_*.json")]
    return sorted(map(Artefact.read, sidecars), key=lambda made: (made.notebook, made.name))


@dataclass
class Report:
    """The only door through which a notebook writes. Open it once, at the top."""

    notebook: str
    profile: str
    seed: int
    inputs: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def open(cls, notebook: str, profile: str, seed: int) -> "Report":
        """Begin the report of one notebook (its stem, such as `04_device_removal`)."""
        return cls(notebook=notebook, profile=profile, seed=seed)

    @property
    def folder(self) -> Path:
        """Where this profile's tables and figures lie."""
        return paths.figures(self.profile)

    def uses(self, what: str | Path, sha256: str | None = None) -> None:
        """Note that what is saved from here on depends on a file, a folder, or a named thing.

        A path is hashed here; a name that is no path needs its `sha256` given.
        """
        path = Path(what)
        if sha256 is None:
            if path.is_dir():
                sha256 = provenance.folder_hash(path)
            elif path.is_file():
                sha256 = paths.sha256(path)
            else:
                raise PrismError(
                    f"{self.notebook}: {str(what)!r} is no file; give its sha256 or a path"
                )
        self.inputs[_public_name(path) if path.exists() else str(what)] = sha256

    def save_table(
        self, frame: "pd.DataFrame", name: str, simulated: bool, caption: str = ""
    ) -> Path:
        """Write `figures/<profile>/<name>.csv` (tidy, no index) with its sidecar.

        A table made from simulated subjects gets a last column `domain` that says SIMULATED.
        """
        self._check(name, "table_")
        if list(frame.index) != list(range(len(frame))):
            raise PrismError(f"{name}: the index would be lost; call reset_index() first")
        if simulated:
            if "domain" in frame.columns:
                raise PrismError(f"{name}: the column `domain` is Report's own; name it otherwise")
            frame = frame.assign(domain=SIMULATED)
        path = self.folder / f"{name}.csv"
        with paths.written_whole(path) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.10g")
        self._write_sidecar(name, [path], simulated, caption)
        return path

    def save_figure(self, fig: "Figure", name: str, simulated: bool, caption: str = "") -> Path:
        """Write `figures/<profile>/<name>.png` and `.pdf` with their sidecar; give the PNG's path.

        A figure of simulated subjects is stamped SIMULATED above its upper right corner, and
        keeps the stamp, so that it is also seen in the notebook.
        """
        self._check(name, "fig_")
        if simulated and not any(text.get_gid() == SIMULATED for text in fig.texts):
            fig.text(
                1.0,
                1.0,
                SIMULATED,
                ha="right",
                va="bottom",
                weight="bold",
                size=9,
                color=STAMP_COLOUR,
                gid=SIMULATED,
            )
        made = []
        # Without dates and program names the same figure is the same bytes.
        for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
            with paths.written_whole(self.folder / f"{name}{suffix}") as temporary:
                fig.savefig(temporary, bbox_inches="tight", metadata=metadata)
            made.append(self.folder / f"{name}{suffix}")
        self._write_sidecar(name, made, simulated, caption)
        return made[0]

    def _check(self, name: str, prefix: str) -> None:
        if not (_NAME.fullmatch(name) and name.startswith(prefix)):
            raise PrismError(
                f"{self.notebook}: {name!r} cannot be an artefact's name; expected {prefix} and "
                "then lower-case letters, digits and underscores"
            )

    def _write_sidecar(self, name: str, made: list[Path], simulated: bool, caption: str) -> None:
        artefact = Artefact(
            name=name,
            notebook=self.notebook,
            profile=self.profile,
            seed=self.seed,
            simulated=simulated,
            caption=" ".join(caption.split()),
            files={path.name: paths.sha256(path) for path in made},
            inputs=dict(sorted(self.inputs.items())),
            commit=provenance.commit(),
            device=provenance.device(),
            seconds=round(time.monotonic() - self.started, 2),
            written=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_json(asdict(artefact), self.folder / f"{name}.json")


def write_json(content: Any, path: Path) -> None:
    """Write JSON whole, indented, with a newline at the end; NaN is refused."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with paths.written_whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _public_name(path: Path) -> str:
    """A path as others may see it: from the checkout or the output root, else the bare name."""
    path = path.resolve()
    for base in (paths.root(), paths.output_root()):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return path.name
