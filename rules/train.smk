# From a data set, or from labelled frames, to a model file.


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
    wildcard_constraints:
        task=CLASSIFYING,
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


rule train_detector:
    input:
        frames=training_files,
        code=stage_code("train_detector"),
    output:
        model=f"{RUN}/{{task}}/model.safetensors",
        training=f"{RUN}/{{task}}/training.json",
        cost=f"{RUN}/{{task}}/cost.json",
        history=f"{RUN}/{{task}}/history.csv",
    log:
        f"{RUN}/logs/{{task}}/train_detector.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/train_detector.tsv"
    wildcard_constraints:
        task=DETECTING,
    threads: 2
    resources:
        mem_mb=growing(8000),
        runtime=growing(1440),
        gpu=0,
    params:
        config=CONFIG,
        simulated=simulated_option,
        settings=stage_settings(
            "simulate", "frames.train", "frames.test", "areas", "model", "detector", "symmetries", "challenge"
        ),
    message:
        "{wildcards.task}: training the detector (a killed run goes on from its last epoch)"
    shell:
        "fleming train --config {params.config:q} --task {wildcards.task} {params.simulated}"
        " --out {output.model:q} --log {log:q}"


rule adapt_detector:
    input:
        frames=adapted_files,
        model=first_model_of,
        code=stage_code("adapt_detector"),
    output:
        model=f"{RUN}/{{task}}/adapted.safetensors",
        history=f"{RUN}/{{task}}/adapted-history.csv",
    log:
        f"{RUN}/logs/{{task}}/adapt_detector.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/adapt_detector.tsv"
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
        settings=stage_settings("adapt"),
    message:
        "{wildcards.task}: adapting the detector to the noise and beam of {input.frames[0]}"
    shell:
        "fleming adapt --config {params.config:q} --task {wildcards.task} {params.simulated}"
        " --model {input.model:q} --out {output.model:q} --log {log:q}"
