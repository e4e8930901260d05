# From a data set to a model file.


rule train:
    input:
        dataset=f"{RUN}/{{task}}/dataset.h5",
        code=stage_code("train"),
    output:
        model=f"{RUN}/{{task}}/model.safetensors",
        training=f"{RUN}/{{task}}/training.json",
        cost=f"{RUN}/{{task}}/cost.json",
        history=f"{RUN}/{{task}}/history.csv",
    log:
        f"{RUN}/logs/{{task}}/train.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/train.tsv"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(720),
        gpu=0,
    params:
        config=CONFIG,
        settings=stage_settings("normalise", "augment", "network", "symmetries", "train"),
    message:
        "{wildcards.task}: training the network (a killed run goes on from its last epoch)"
    shell:
        "fleming train --config {params.config:q} --task {wildcards.task} --dataset {input.dataset:q}"
        " --out {output.model:q} --log {log:q}"
