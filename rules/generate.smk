# Synthetic galaxies: from stamps to a model a method, to samples of each, and to what tells them from real ones.


rule simulate_stamps:
    input:
        code=stage_code("simulate_stamps", "simulate/disc_stamps.py"),
    output:
        samples=f"{RUN}/{{task}}/simulated/samples.fits",
        manifest=f"{RUN}/{{task}}/simulated/manifest.csv",
    log:
        f"{RUN}/logs/{{task}}/simulate_stamps.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/simulate_stamps.tsv"
    wildcard_constraints:
        task=GENERATING,
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,
    params:
        config=CONFIG,
        folder=subpath(output.manifest, parent=True),
        settings=stage_settings("simulate"),
    message:
        "{wildcards.task}: simulating stamps of galaxies"
    shell:
        "fleming simulate --config {params.config:q} --task {wildcards.task} --out {params.folder:q} --log {log:q}"


rule ingest_stamps:
    input:
        manifest=manifest_of,
        code=stage_code("ingest_stamps"),
    output:
        f"{RUN}/{{task}}/dataset.h5",
    log:
        f"{RUN}/logs/{{task}}/ingest_stamps.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/ingest_stamps.tsv"
    wildcard_constraints:
        task=GENERATING,
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=0,
    params:
        config=CONFIG,
        settings=stage_settings("input", "labels", "classes", "split", "conditions"),
    message:
        "{wildcards.task}: reading the stamps of {input.manifest}"
    shell:
        "fleming ingest --config {params.config:q} --task {wildcards.task} --manifest {input.manifest:q}"
        " --out {output:q} --log {log:q}"


rule train_method:
    input:
        dataset=f"{RUN}/{{task}}/dataset.h5",
        begin=begun_of,
        code=method_code,
    output:
        model=f"{RUN}/{{task}}/{{method}}/model.safetensors",
        training=f"{RUN}/{{task}}/{{method}}/training.json",
    log:
        f"{RUN}/logs/{{task}}/train_{{method}}.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/train_{{method}}.tsv"
    wildcard_constraints:
        task=GENERATING,
        method=METHODS,
    threads: cores_of_method
    resources:
        mem_mb=growing(6000),
        runtime=growing(1440),
        gpu=0,
    params:
        config=CONFIG,
        begin=begin_option,
        settings=method_settings,
    message:
        "{wildcards.task}: training the method {wildcards.method} (a killed run goes on from its last epoch)"
    shell:
        "fleming train --config {params.config:q} --task {wildcards.task} --method {wildcards.method}"
        " {params.begin} --dataset {input.dataset:q} --out {output.model:q} --log {log:q}"


rule sample_product:
    input:
        dataset=f"{RUN}/{{task}}/dataset.h5",
        model=product_of,
        code=stage_code("sample"),
    output:
        galaxies=f"{RUN}/{{task}}/galaxies.fits",
        fits=f"{RUN}/{{task}}/catalogue.fits",
        ecsv=f"{RUN}/{{task}}/catalogue.ecsv",
    log:
        f"{RUN}/logs/{{task}}/sample_product.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/sample_product.tsv"
    wildcard_constraints:
        task=GENERATING,
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=0,
    params:
        config=CONFIG,
        settings=stage_settings("samples", "guidance"),
    message:
        "{wildcards.task}: making synthetic galaxies"
    shell:
        "fleming sample --config {params.config:q} --task {wildcards.task} --dataset {input.dataset:q}"
        " --model {input.model:q} --out {output.galaxies:q} --catalogue {output.fits:q}"
        " --catalogue {output.ecsv:q} --log {log:q}"


rule sample_method:
    input:
        dataset=f"{RUN}/{{task}}/dataset.h5",
        model=f"{RUN}/{{task}}/{{method}}/model.safetensors",
        code=stage_code("sample"),
    output:
        f"{RUN}/{{task}}/{{method}}/galaxies.fits",
    log:
        f"{RUN}/logs/{{task}}/sample_{{method}}.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/sample_{{method}}.tsv"
    wildcard_constraints:
        task=GENERATING,
        method=METHODS,
    threads: cores_of_method
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=0,
    params:
        config=CONFIG,
        settings=stage_settings("samples", "guidance"),
    message:
        "{wildcards.task}: making galaxies by {wildcards.method}, to compare with"
    shell:
        "fleming sample --config {params.config:q} --task {wildcards.task} --dataset {input.dataset:q}"
        " --model {input.model:q} --out {output:q} --log {log:q}"


rule evaluate_methods:
    input:
        dataset=f"{RUN}/{{task}}/dataset.h5",
        samples=samples_of,
        features=features_of,
        code=stage_code("evaluate_methods"),
    output:
        metrics=f"{RUN}/{{task}}/metrics.json",
    log:
        f"{RUN}/logs/{{task}}/evaluate_methods.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/evaluate_methods.tsv"
    wildcard_constraints:
        task=GENERATING,
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=0,
    params:
        config=CONFIG,
        samples=samples_options,
        settings=stage_settings("features", "conditions"),
    message:
        "{wildcards.task}: comparing the synthetic galaxies of every method with real ones"
    shell:
        "fleming evaluate --config {params.config:q} --task {wildcards.task} --dataset {input.dataset:q}"
        " {params.samples} --out {output.metrics:q} --log {log:q}"


rule explore:
    input:
        dataset=f"{RUN}/{{task}}/dataset.h5",
        model=f"{RUN}/{{task}}/{{method}}/model.safetensors",
        code=stage_code("explore"),
    output:
        plane=f"{RUN}/{{task}}/{{method}}/latent.json",
        stamps=f"{RUN}/{{task}}/{{method}}/latent.fits",
        outliers=f"{RUN}/{{task}}/{{method}}/outliers.csv",
    log:
        f"{RUN}/logs/{{task}}/explore_{{method}}.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/explore_{{method}}.tsv"
    wildcard_constraints:
        task=GENERATING,
        method=METHODS,
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,
    message:
        "{wildcards.task}: looking into the latent space of {wildcards.method}"
    shell:
        "fleming explore --model {input.model:q} --dataset {input.dataset:q} --plane {output.plane:q}"
        " --stamps {output.stamps:q} --outliers {output.outliers:q} --log {log:q}"


rule restore_example:
    input:
        dataset=f"{RUN}/{{task}}/dataset.h5",
        model=f"{RUN}/{{task}}/{{method}}/model.safetensors",
        code=stage_code("restore_example"),
    output:
        f"{RUN}/{{task}}/{{method}}/restored.fits",
    log:
        f"{RUN}/logs/{{task}}/restore_example_{{method}}.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/restore_example_{{method}}.tsv"
    wildcard_constraints:
        task=GENERATING,
        method=METHODS,
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,
    message:
        "{wildcards.task}: taking noise out of test stamps by {wildcards.method}"
    shell:
        "fleming restore --model {input.model:q} --dataset {input.dataset:q} --n 5 --noise 5"
        " --draws 8 --out {output:q} --log {log:q}"
