# From a catalogue and the labels of the test split to metrics.


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
