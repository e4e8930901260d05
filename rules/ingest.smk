# From files to one HDF5 data set a task, and to simulated data.


rule simulate:
    input:
        sources=sources_of,
        code=stage_code("simulate"),
    output:
        samples=f"{RUN}/{{task}}/simulated/samples.fits",
        manifest=f"{RUN}/{{task}}/simulated/manifest.csv",
    log:
        f"{RUN}/logs/{{task}}/simulate.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/simulate.tsv"
    wildcard_constraints:
        task=CLASSIFYING,
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,
    params:
        config=CONFIG,
        folder=subpath(output.manifest, parent=True),
        settings=stage_settings("simulate"),
    message:
        "{wildcards.task}: injecting noise-free frames into noise"
    shell:
        "fleming simulate --config {params.config:q} --task {wildcards.task}" " --out {params.folder:q} --log {log:q}"


rule simulate_field:
    input:
        code=stage_code("simulate_field"),
    output:
        image=f"{RUN}/{{task}}/simulated/field.fits",
        truth=f"{RUN}/{{task}}/simulated/truth.csv",
    log:
        f"{RUN}/logs/{{task}}/simulate_field.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/simulate_field.tsv"
    wildcard_constraints:
        task=DETECTING,
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=0,
    params:
        config=CONFIG,
        folder=subpath(output.image, parent=True),
        settings=stage_settings("simulate"),
    message:
        "{wildcards.task}: simulating a field and its truth"
    shell:
        "fleming simulate --config {params.config:q} --task {wildcards.task}" " --out {params.folder:q} --log {log:q}"


rule ingest:
    input:
        manifest=manifest_of,
        code=stage_code("ingest"),
    output:
        f"{RUN}/{{task}}/dataset.h5",
    log:
        f"{RUN}/logs/{{task}}/ingest.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/ingest.tsv"
    wildcard_constraints:
        task=CLASSIFYING,
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=0,
    params:
        config=CONFIG,
        settings=stage_settings("input", "labels", "classes", "split"),
    message:
        "{wildcards.task}: reading the objects of {input.manifest}"
    shell:
        "fleming ingest --config {params.config:q} --task {wildcards.task} --manifest {input.manifest:q}"
        " --out {output:q} --log {log:q}"
