# From a catalogue and the truth that was kept for it to metrics.


rule evaluate:
    input:
        dataset=f"{RUN}/{{task}}/dataset.h5",
        model=f"{RUN}/{{task}}/model.safetensors",
        catalogue=f"{RUN}/{{task}}/catalogue.fits",
        code=stage_code("evaluate"),
    output:
        f"{RUN}/{{task}}/metrics.json",
    log:
        f"{RUN}/logs/{{task}}/evaluate.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/evaluate.tsv"
    wildcard_constraints:
        task=CLASSIFYING,
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
        gpu=0,
    params:
        config=CONFIG,
    message:
        "{wildcards.task}: comparing the catalogue with the labels of the test split"
    shell:
        "fleming evaluate --config {params.config:q} --task {wildcards.task} --dataset {input.dataset:q}"
        " --model {input.model:q} --catalogue {input.catalogue:q} --out {output:q} --log {log:q}"


rule evaluate_detector:
    input:
        frames=labelled_files,
        model=model_of,
        catalogue=f"{RUN}/{{task}}/catalogue.fits",
        code=stage_code("evaluate_detector"),
    output:
        metrics=f"{RUN}/{{task}}/metrics.json",
        matches=f"{RUN}/{{task}}/matches.csv",
    log:
        f"{RUN}/logs/{{task}}/evaluate_detector.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/evaluate_detector.tsv"
    wildcard_constraints:
        task=DETECTING,
    threads: 2
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
        gpu=0,
    params:
        config=CONFIG,
        simulated=simulated_option,
        settings=stage_settings("frames", "areas", "challenge", "purity"),
    message:
        "{wildcards.task}: comparing the catalogue with the truth that was kept for it"
    shell:
        "fleming evaluate --config {params.config:q} --task {wildcards.task} {params.simulated}"
        " --model {input.model:q} --catalogue {input.catalogue:q} --out {output.metrics:q} --log {log:q}"
