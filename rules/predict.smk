# From a data set and a model to a catalogue.


rule classify:
    input:
        dataset=f"{RUN}/{{task}}/dataset.h5",
        model=f"{RUN}/{{task}}/model.safetensors",
        code=stage_code("classify"),
    output:
        fits=f"{RUN}/{{task}}/catalogue.fits",
        ecsv=f"{RUN}/{{task}}/catalogue.ecsv",
    log:
        f"{RUN}/logs/{{task}}/classify.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/classify.tsv"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=0,
    message:
        "{wildcards.task}: classifying every object"
    shell:
        "fleming classify --dataset {input.dataset:q} --model {input.model:q}"
        " --out {output.fits:q} --out {output.ecsv:q} --log {log:q}"
