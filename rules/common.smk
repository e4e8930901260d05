# Everything in Python that the rules need: the validated settings, and what each stage depends on.
import ast
import json
import os
import shlex
import sys
from functools import reduce
from pathlib import Path

from pipeline.config import dump_config, key_lines, validate
from pipeline.detect.task_images import adapted_image, frame_files, labelled_frames, searched_images, simulated_frames
from pipeline.errors import UserError
from pipeline.generate.methods import CLASSES
from pipeline.hi.task_cubes import adapted_cube, cube_files, judged_cubes, learnt_cubes, searched_cubes
from pipeline.files import write_text

# The module that each stage begins with; what it imports is found by itself.
FIRST_MODULE = {
    "simulate": "simulate/injection.py",
    "simulate_field": "simulate/field_files.py",
    "ingest": "data/ingest.py",
    "train": "classify/train.py",
    "train_detector": "detect/task.py",
    "adapt_detector": "detect/adapt.py",
    "classify": "classify/apply.py",
    "detect": "detect/apply.py",
    "evaluate": "classify/evaluate.py",
    "evaluate_detector": "detect/evaluate.py",
    "simulate_cubes": "simulate/hi_files.py",
    "train_cubes": "hi/task.py",
    "adapt_cubes": "hi/adapt.py",
    "detect_cubes": "hi/apply.py",
    "evaluate_cubes": "hi/evaluate.py",
    "simulate_stamps": "simulate/sersic.py",
    "ingest_stamps": "generate/stamps.py",
    "train_method": "generate/task.py",
    "sample": "generate/apply.py",
    "evaluate_methods": "generate/evaluate.py",
    "explore": "generate/explore.py",
    "restore_example": "generate/restore_stamps.py",
    "figures": "report/figures.py",
    "report": "report/page.py",
}

# A job runs the command of the environment that runs Snakemake, activated or not, on a cluster node too.
shell.prefix(f'set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; ')


def read_settings():
    """The settings of this run; a mistake in them ends here, before any job starts."""
    source = workflow.configfiles[-1] if workflow.configfiles else "the settings given by --config"
    try:
        return validate(dict(config), source, key_lines(source))
    except UserError as error:
        stop(error)


def write_settings():
    """Write what the jobs read: the merged settings of --configfile and --config, in the run's own folder."""
    try:
        write_text(CONFIG, dump_config(SETTINGS))
    except UserError as error:
        stop(error)


def stop(error):
    """End with the user's mistakes, one line each."""
    for problem in error.problems:
        print(f"fleming: {problem}", file=sys.stderr)
    sys.exit(2)


SETTINGS = read_settings()
RUN = SETTINGS.run
CONFIG = f"{RUN}/config.yaml"
TASKS = list(SETTINGS.tasks)
DETECTED = [name for name, task in SETTINGS.tasks.items() if task.kind == "detect"]
CUBED = [name for name, task in SETTINGS.tasks.items() if task.kind == "hi"]
GENERATED = [name for name, task in SETTINGS.tasks.items() if task.kind == "generate"]
TRAINED = [name for name, task in SETTINGS.tasks.items() if task.kind == "classify" or getattr(task, "trains", False)]
# What the wildcard of a rule for one kind of task may be; a name never has a blank.
CLASSIFYING = "|".join(name for name in TASKS if name not in DETECTED + CUBED + GENERATED) or "no task"
DETECTING = "|".join(DETECTED) or "no task"
IN_CUBES = "|".join(CUBED) or "no task"
GENERATING = "|".join(GENERATED) or "no task"
METHODS = "|".join({method: None for name in GENERATED for method in SETTINGS.tasks[name].methods}) or "no method"


def stage_code(stage, *more):
    """The source files that a stage runs, by its imports: changing one of them runs the stage again.

    `more` are modules that it imports by a name in the settings.
    """
    package = Path(workflow.basedir, "pipeline")
    found, waiting = set(), [package / FIRST_MODULE[stage], *(package / module for module in more)]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "pipeline":
                place = package.parent.joinpath(*node.module.split("."))
                named = [place / f"{alias.name}.py" for alias in node.names]
                waiting += [path for path in (place.with_suffix(".py"), *named) if path.is_file()]
    return [os.path.relpath(file) for file in sorted(found)]


def stage_settings(*keys):
    """A function of the wildcards that gives the task's settings under `keys`, paths divided by points.

    Changing one of them runs the stage again.
    """

    def settings_of(wildcards):
        task = SETTINGS.tasks[wildcards.task].model_dump(mode="json")
        found = {"seed": SETTINGS.seed}
        for key in keys:
            found[key] = reduce(lambda part, name: part[name], key.split("."), task)
        return json.dumps(found, sort_keys=True)

    return settings_of


def manifest_of(wildcards):
    """The task's manifest: the one that its config names, or the one that its simulation writes."""
    task = SETTINGS.tasks[wildcards.task]
    return task.input.manifest or f"{RUN}/{wildcards.task}/simulated/manifest.csv"


def sources_of(wildcards):
    """The manifest of the frames that a task's simulation injects."""
    return SETTINGS.tasks[wildcards.task].simulate.sources


def simulated_of(wildcards):
    """The folder of a detection task's simulated field or cubes, or None."""
    task = SETTINGS.tasks[wildcards.task]
    simulates = task.simulates_cubes if task.kind == "hi" else task.simulate is not None
    return Path(RUN, wildcards.task, "simulated") if simulates else None


def simulated_option(wildcards):
    """How a detection stage is told of what is simulated, where something is."""
    folder = simulated_of(wildcards)
    return "" if folder is None else f"--simulated {shlex.quote(str(folder))}"


def made_or_given(paths, wildcards):
    """The files among `paths`, without the simulated primary beam, which comes with its field where there is one."""
    silent = str(Path(RUN, wildcards.task, "simulated", "primary_beam.fits"))
    return [path for path in paths if path not in (None, silent)]


def training_files(wildcards):
    """Images, truth tables and primary beams that a detector is trained on."""
    task = SETTINGS.tasks[wildcards.task]
    frames = simulated_frames(task, simulated_of(wildcards)) + task.frames.train
    return made_or_given(frame_files(frames), wildcards) + ([task.model] if task.model else [])


def labelled_files(wildcards):
    """Images, truth tables and primary beams of all frames that a catalogue may be compared with."""
    frames = labelled_frames(SETTINGS.tasks[wildcards.task], simulated_of(wildcards))
    return made_or_given(frame_files(frames), wildcards)


def searched_files(wildcards):
    """Images to search, with their primary beams."""
    images = searched_images(SETTINGS.tasks[wildcards.task], simulated_of(wildcards))
    return made_or_given([path for image in images for path in image], wildcards)


def adapted_files(wildcards):
    """The image that a model is adapted to, with its primary beam."""
    image = adapted_image(SETTINGS.tasks[wildcards.task], simulated_of(wildcards))
    return made_or_given(image, wildcards)


def first_model_of(wildcards):
    """The model that a task trains, or else the one that it names."""
    task = SETTINGS.tasks[wildcards.task]
    return f"{RUN}/{wildcards.task}/model.safetensors" if task.trains else task.model


def model_of(wildcards):
    """The model that a task detects with: adapted where it adapts one."""
    adapted = SETTINGS.tasks[wildcards.task].adapt is not None
    return f"{RUN}/{wildcards.task}/adapted.safetensors" if adapted else first_model_of(wildcards)


def figure_files(wildcards):
    """The result files that a task's figures are drawn from."""
    if wildcards.task in GENERATED:
        folder = f"{RUN}/{wildcards.task}"
        return [f"{folder}/metrics.json", f"{folder}/dataset.h5", *samples_of(wildcards), *looks_of(wildcards)]
    names = ["catalogue.fits", "metrics.json"]
    names += ["matches.csv"] if wildcards.task in DETECTED + CUBED else ["dataset.h5"]
    names += ["history.csv"] if wildcards.task in TRAINED else []
    return [f"{RUN}/{wildcards.task}/{name}" for name in names]


def simulated_folder(wildcards):
    """The folder that a task's simulation writes."""
    return f"{RUN}/{wildcards.task}/simulated"


def learnt_files(wildcards):
    """Cubes, continuum and truth that a detector of galaxies is trained with."""
    task = SETTINGS.tasks[wildcards.task]
    return [*cube_files(learnt_cubes(task, simulated_of(wildcards))), *([task.model] if task.model else [])]


def searched_cube_files(wildcards):
    """Cubes to search, with their continuum."""
    frames = searched_cubes(SETTINGS.tasks[wildcards.task], simulated_of(wildcards))
    return list(cube_files([frame.model_copy(update={"truth": None}) for frame in frames]))


def judged_files(wildcards):
    """Cubes and truth tables that a catalogue of galaxies is compared with."""
    return list(cube_files(judged_cubes(SETTINGS.tasks[wildcards.task], simulated_of(wildcards))))


def adapted_cube_files(wildcards):
    """The cube that a model is adapted to, with its continuum."""
    frame = adapted_cube(SETTINGS.tasks[wildcards.task], simulated_of(wildcards))
    return list(cube_files([frame.model_copy(update={"truth": None})]))


def products_option(wildcards):
    """Where cubelets, maps and spectra go, for a task that wants them."""
    folder = shlex.quote(f"{RUN}/{wildcards.task}/galaxies")
    return f"--products {folder}" if SETTINGS.tasks[wildcards.task].products else ""


def method_code(wildcards):
    """The source files that the training of a method runs."""
    name = SETTINGS.tasks[wildcards.task].methods[wildcards.method].name
    return stage_code("train_method", f"generate/{CLASSES[name][0]}.py")


def method_settings(wildcards):
    """The settings that the training of one method of a task depends on."""
    task = SETTINGS.tasks[wildcards.task]
    return json.dumps({"seed": SETTINGS.seed} | task.told(wildcards.method), sort_keys=True)


def cores_of_method(wildcards):
    """Methods are trained side by side: each gets its share of the cores."""
    return max(1, (workflow.cores or 2) // len(SETTINGS.tasks[wildcards.task].methods))


def begun_of(wildcards):
    """The model that a method starts from, where its settings name one."""
    before = SETTINGS.tasks[wildcards.task].begun(wildcards.method)
    return [f"{RUN}/{wildcards.task}/{before}/model.safetensors"] if before else []


def begin_option(wildcards):
    """How the training of a method is told of that model."""
    return " ".join(f"--begin {shlex.quote(path)}" for path in begun_of(wildcards))


def product_of(wildcards):
    """The model whose samples are the task's product."""
    return f"{RUN}/{wildcards.task}/{SETTINGS.tasks[wildcards.task].product}/model.safetensors"


def samples_of(wildcards):
    """The samples of all methods of a task, in their order; the product is in the task's own folder."""
    task = SETTINGS.tasks[wildcards.task]
    folders = ["" if name == task.product else name for name in task.methods]
    return [os.path.join(RUN, wildcards.task, folder, "galaxies.fits") for folder in folders]


def samples_options(wildcards):
    """How the evaluation is told of the samples."""
    return " ".join(f"--samples {shlex.quote(path)}" for path in samples_of(wildcards))


def looks_of(wildcards):
    """What is made beside the samples, where the task has a method for it: a latent plane, a restored example."""
    task, names = SETTINGS.tasks[wildcards.task], []
    names += [f"{task.coded}/{name}" for name in ("latent.json", "latent.fits", "outliers.csv")] if task.coded else []
    names += [f"{task.flow}/restored.fits"] if task.flow else []
    return [f"{RUN}/{wildcards.task}/{name}" for name in names]


def features_of(wildcards):
    """The classifier in whose features stamps are compared, if the task names one."""
    return SETTINGS.tasks[wildcards.task].features or []


def growing(amount):
    """A resource that grows with every attempt: a job that ran out of memory or time is tried again with more."""

    def grown(wildcards, attempt):
        return amount * attempt

    return grown


wildcard_constraints:
    task="|".join(TASKS),
