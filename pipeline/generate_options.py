"""The options of what makes synthetic stamps, and of what their models are used for."""

from pathlib import Path

from pipeline import generate_stages
from pipeline.option_parts import device, out, positive, seed


def generation(add):
    _sample(add)
    stage = add(
        "explore",
        generate_stages.explore,
        "look into a generative model: the plane of its latent space, and the real stamps that it finds odd",
        "fleming explore --model vae/model.safetensors --dataset dataset.h5 --plane latent.json --stamps latent.fits",
        device,
    )
    stage.add_argument("--model", type=Path, required=True, help="the model file that fleming train wrote")
    stage.add_argument("--dataset", type=Path, required=True, help="the data set that fleming ingest wrote")
    stage.add_argument("--plane", type=Path, help="write the latent plane by class to this file (JSON)")
    stage.add_argument("--stamps", type=Path, help="write what grids of the plane decode to to this file (FITS)")
    stage.add_argument("--outliers", type=Path, help="write a catalogue of all stamps, the oddest first")
    stage = add(
        "restore",
        generate_stages.restore,
        "take noise and blur out of stamps by a trained flow: the estimate and its uncertainty",
        "fleming restore noisy.fits --model flow/model.safetensors --noise 5e-5 --out restored.fits",
        device,
        out("the FITS file: estimate, uncertainty and what was observed"),
    )
    stage.add_argument("images", nargs="?", type=Path, help="FITS image or array of stamps, of the model's shape")
    stage.add_argument("--model", type=Path, required=True, help="the model file that fleming train wrote")
    stage.add_argument("--noise", type=float, help="standard deviation of the noise (default: RMS of the header)")
    stage.add_argument("--blur", type=float, default=0.0, help="FWHM of a blur in pixels (default 0, none)")
    stage.add_argument("--draws", type=positive, default=16, help="draws from the posterior (default 16)")
    stage.add_argument("--seed", type=seed, default=42, help="seed of everything random (default 42)")
    group = stage.add_argument_group("an example: test stamps that noise is added to; --noise is in units of theirs")
    group.add_argument("--dataset", type=Path, help="the data set that fleming ingest wrote")
    group.add_argument("--n", type=positive, default=6, help="stamps (default 6)")


def _sample(add):
    stage = add(
        "sample",
        generate_stages.sample,
        "make synthetic galaxies with a trained model, in physical units",
        "fleming sample --model galaxies.safetensors --n 1000 --condition flux=2e-5,size=1.5 --out galaxies.fits",
        device,
        out("the FITS file: the stamps, and a table of what was asked for and what they have"),
    )
    stage.add_argument("--model", type=Path, required=True, help="the model file that fleming train wrote")
    stage.add_argument("--n", type=positive, help="stamps to make (default 1000)")
    stage.add_argument(
        "--condition",
        action="append",
        metavar="NAME=VALUE[,...]",
        help="what every galaxy shall be; without it they are as the training set is, see --untold",
    )
    stage.add_argument("--untold", action="store_true", help="tell the model nothing at all")
    stage.add_argument("--seed", type=seed, help="seed of everything random (default 42)")
    stage.add_argument("--steps", type=positive, help="steps of the sampler (default: those of its training)")
    stage.add_argument("--guidance", type=float, help="weight of the conditions: 1 as learnt, 0 without any")
    stage.add_argument("--strict", action="store_true", help="refuse conditions outside the training range")
    stage.add_argument("--catalogue", type=Path, action="append", help="write the table to this catalogue too")
    stage.add_argument("--one-file-each", action="store_true", help="--out is a folder for one FITS file a stamp")
    group = stage.add_argument_group(
        "with a config: conditions are those of the test stamps of a task, and the cost is written beside --out (.json)"
    )
    group.add_argument("--config", help="the run's YAML file")
    group.add_argument("--task", help="the task's name in the config")
    group.add_argument("--dataset", type=Path, help="the data set that fleming ingest wrote")
