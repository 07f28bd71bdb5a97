"""The command line as it is typed: fast to help, one line for what goes wrong, right exit codes."""

import subprocess
import sys

import pytest

from prismlib import cli, paths
from prismlib.commands import doctor
from prismlib.errors import PrismError


def prism(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    import os

    return subprocess.run(
        [sys.executable, "-m", "prismlib", *arguments],
        capture_output=True,
        text=True,
        cwd=paths.root(),
        env={**os.environ, **environment},
        timeout=300,
    )


def seconds_of_cpu(*arguments: str) -> float:
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert prism(*arguments).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_answers_in_under_a_second():
    # CPU time, so that a busy machine does not decide; the best of three, so that a cold cache
    # does not either.
    assert min(seconds_of_cpu("--help") for _ in range(3)) < 1.0


@pytest.mark.parametrize("command", [(), *((name,) for name in cli.COMMANDS), ("cohort", "make")])
def test_help_of_every_command_needs_nothing_heavy(command):
    code = (
        "import sys; from prismlib import cli\n"
        f"code = cli.main([*{command!r}, '--help'])\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'diffusers', 'transformers', 'papermill'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.root()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: prism")
    assert done.stderr.strip() == "[]"


def test_help_names_every_command():
    text = prism("--help").stdout
    assert all(name in text for name in cli.COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "required: COMMAND"),
        (("reproduc",), "no command 'reproduc': did you mean reproduce?"),
        (("reproduce", "--profil"), "prism reproduce"),
        (("reproduce", "--profile", "quik"), "did you mean quick?"),
        (("reproduce", "--set", "n_images"), "expected KEY=VALUE"),
        (("reproduce", "--set", "n=[1"), "not valid YAML"),
        (("reproduce", "--fresh", "--resume"), "not allowed with"),
        (("reproduce", "--only", "99"), "no notebook"),
        (("cohort", "make", "--n", "2"), "--out"),
        (("cohort", "make", "--n", "two", "--out", "x"), "invalid int value"),
        (("cohort", "make", "--n", "1", "--out", "x", "--do", "pacemaker"), "NAME=VALUE"),
        (("audit", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_wrong_use_is_one_line_exit_code_2_and_nothing_written(arguments, message, tmp_path):
    done = prism(*arguments, PRISM_OUTPUT=str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.startswith("prism: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "out").exists() and not (paths.root() / "x").exists()


def test_version():
    assert prism("--version").stdout.startswith("prism 0.")


class Command:
    """A command that does what a test wants."""

    def __init__(self, effect) -> None:
        self.effect = effect

    def add_arguments(self, parser) -> None:
        pass

    def run(self, args) -> int:
        if isinstance(self.effect, BaseException):
            raise self.effect
        return self.effect


@pytest.mark.parametrize(
    ("effect", "code", "line"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (PrismError("no\nluck"), 1, "prism: no luck\n"),
        (KeyboardInterrupt(), 130, "prism: interrupted\n"),
        (KeyError("x"), 1, "prism: KeyError: 'x' (unforeseen; --debug shows where)\n"),
        (OSError(28, "No space"), 1, "prism: OSError: [Errno 28] No space (unforeseen; "),
    ],
)
def test_every_end_is_a_code_and_a_line(monkeypatch, capsys, effect, code, line):
    monkeypatch.setattr(cli, "_module", lambda name: Command(effect))
    assert cli.main(["doctor"]) == code
    said = capsys.readouterr().err
    assert said.startswith(line) and said.count("\n") == (1 if line else 0)


def test_debug_shows_where(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_module", lambda name: Command(PrismError("no luck")))
    for argv in (["--debug", "doctor"], ["doctor", "--debug"]):
        assert cli.main(argv) == 1
        said = capsys.readouterr().err
        assert "Traceback" in said and said.endswith("prism: no luck\n")


def test_every_command_has_its_module():
    for name in cli.COMMANDS:
        assert cli.build_parser(name).parse_args


def test_doctor_tells_what_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(doctor, "_verify_weights", lambda: 12)
    monkeypatch.delenv("PRISM_CHEXPERT_ROOT", raising=False)
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "12 files verified" in said
    assert "quick                    ready" in said
    assert "PRISM_CHEXPERT_ROOT, the folder with" in said

    def torn():
        raise PrismError("unet.safetensors is torn")

    monkeypatch.setattr(doctor, "_verify_weights", torn)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "! prism-mini               unet.safetensors is torn" in said
    assert "lacks whole weights of prism-mini" in said


def test_doctor_finds_a_users_chexpert(monkeypatch, chexpert_root):
    monkeypatch.setenv("PRISM_CHEXPERT_ROOT", str(chexpert_root))
    told = {finding.what: finding for finding in doctor.data()}
    assert told["CheXpert radiographs"].state == f"found in {chexpert_root}"
    monkeypatch.setenv("PRISM_CHEXPERT_ROOT", str(chexpert_root / "nowhere"))
    told = {finding.what: finding for finding in doctor.data()}
    assert "is not a folder" in told["CheXpert radiographs"].state


def test_a_reader_who_stops_reading_is_no_error():
    shell = f"{sys.executable} -m prismlib --help | true"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=paths.root())
    assert "Traceback" not in done.stderr
