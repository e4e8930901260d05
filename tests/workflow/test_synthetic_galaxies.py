"""Synthetic galaxies from nothing but a config."""

import json

import yaml
from astropy.io import fits
from astropy.table import Table


def test_synthetic_galaxies_from_a_config_alone(workflow, tmp_path):
    workflow.copy_code(tmp_path)
    task = {
        "kind": "generate",
        "simulate": {"sersic": {"n": 60, "shape": [12, 12], "size": [1.2, 2.5]}},
        "conditions": ["flux"],
        "methods": {"vae": {"widths": [4, 8], "latent": 2}},
        "train": {"epochs": 2, "batch": 16},
        "samples": 20,
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"run": "out", "tasks": {"galaxies": task}}))
    done = workflow.run(tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out" / "galaxies"
    assert fits.getdata(out / "galaxies.fits").shape == (20, 12, 12)
    table = Table.read(out / "catalogue.fits")
    assert len(table) == len(Table.read(out / "catalogue.ecsv")) == 20
    assert str(table["flux"].unit) == "Jy"
    assert json.loads((out / "metrics.json").read_text())["methods"]["vae"]["realism"]["n"] > 0
    assert (out / "vae" / "latent.json").is_file()
    assert (out / "figures" / "captions.json").is_file()
    assert "galaxies" in (tmp_path / "out" / "report.html").read_text()
    # another guidance changes what is sampled, not what is trained
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"run": "out", "tasks": {"galaxies": task | {"guidance": 2}}}))
    assert workflow.jobs(workflow.run(tmp_path, "--dry-run")) == {
        "sample_product",
        "evaluate_methods",
        "figures",
        "report",
    }
