"""The command: quick help with an example everywhere, exit codes, and where tracebacks go."""

import re
import subprocess
import sys

import pytest

from pipeline import cli, stages
from pipeline.options import parser

STAGES = sorted(re.findall(r"^    ([a-z]+) ", parser().format_help().partition("stages:")[2], re.MULTILINE))


def test_the_stages_are_known():
    assert {"check", "classify", "detect", "adapt", "score", "field", "train", "report"} <= set(STAGES)


def test_help_loads_neither_torch_nor_astropy():
    code = (
        "import sys\nfrom pipeline import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'astropy', 'numpy', 'pandas', 'pydantic', 'snakemake'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert all(stage in run.stdout for stage in STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_help_with_an_example(stage, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([stage, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  fleming {stage}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["train"], ["describe"], ["check"], ["describe", "D-2", "--input", "a"]]
)
def test_a_wrong_command_line_is_one_sentence(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--help" in said


def test_describe_prints_the_published_table(capsys):
    line = "C-32.3_p0 P-2 C-64.3_p0 P-2 C-64.3_p0 D-64 D-10"
    assert cli.main(["describe", line, "--input", "3,32,32"]) == 0
    shown = capsys.readouterr().out.replace(",", "")
    assert all(number in shown for number in ("896", "18496", "36928", "65600", "650"))


def test_a_fault_of_our_own_leaves_its_traceback_in_the_log(monkeypatch, tmp_path, capsys):
    def broken(options):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(stages, "check", broken)
    log = tmp_path / "logs" / "check.log"
    assert cli.main(["check", "x.yaml", "--log", str(log)]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert str(log) in said
    assert "secret detail" in log.read_text()


def test_several_problems_are_a_line_each(tmp_path, capsys):
    config = tmp_path / "a.yaml"
    config.write_text("run: x\nsed: 1\ntasks: {}\n")
    assert cli.main(["check", str(config)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"fleming: {config} line") for line in lines)
