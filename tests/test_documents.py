"""What the README and the settings page say is what the code and the measurements say."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import cli
from pipeline.config import RunSettings, load_config
from pipeline.reference import reference

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_settings_page_is_made_from_the_code():
    assert (ROOT / "config" / "README.md").read_text() == reference(), (
        "run python -m pipeline.reference > config/README.md"
    )


def test_the_readmes_table_is_made_from_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    sys.modules.pop("table", None)
    import table

    assert table.readme_rows() == table.rows(), "run python benchmarks/table.py"


def test_the_readmes_config_is_valid():
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    settings = RunSettings.model_validate(yaml.safe_load(block))
    assert settings.tasks["stars"].train.epochs == 40


@pytest.mark.parametrize("config", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_config_is_valid(config, monkeypatch):
    monkeypatch.chdir(ROOT)
    if config.name == "demo.yaml":
        assert load_config(config).tasks
    else:
        # their manifests are made by benchmarks/manifests.py, so only the settings are checked
        assert RunSettings.model_validate(yaml.safe_load(config.read_text())).tasks


def test_the_readme_names_only_commands_and_files_that_exist(capsys):
    for stage in set(re.findall(r"^fleming ([a-z]+)", README, re.MULTILINE)):
        with pytest.raises(SystemExit) as ended:
            cli.main([stage, "--help"])
        assert ended.value.code == 0
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for folder in re.findall(r"^([a-z]+)/ ", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


def test_describe_help_holds_the_notation(capsys):
    with pytest.raises(SystemExit):
        cli.main(["describe", "--help"])
    shown = capsys.readouterr().out
    assert "residual block" in shown
    assert "`" not in shown
    assert "==" not in shown
