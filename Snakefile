# Fleming as a workflow: this file is the table of contents, rules/ hold the stages.
from snakemake.utils import min_version

min_version("9.0")

# --configfile replaces the demo; a configfile directive would merge the two.
if "tasks" not in config:

    configfile: "config/demo.yaml"


# A base for those who build an image with Fleming in it; without --software-deployment-method nothing uses it.
container: "docker://python:3.11-slim"


include: "rules/common.smk"
include: "rules/ingest.smk"
include: "rules/train.smk"
include: "rules/predict.smk"
include: "rules/evaluate.smk"
include: "rules/cubes.smk"
include: "rules/generate.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        f"{RUN}/report.html",
        expand("{run}/{task}/catalogue.fits", run=RUN, task=TASKS),
        expand("{run}/{task}/catalogue.ecsv", run=RUN, task=TASKS),
        expand("{run}/{task}/galaxies.fits", run=RUN, task=GENERATED),
        expand("{run}/{task}/catalogue.reg", run=RUN, task=DETECTED + CUBED),
        expand("{run}/{task}/submission.txt", run=RUN, task=DETECTED + CUBED),


onstart:
    write_settings()
