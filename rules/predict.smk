# From a data set, or from images, and a model to a catalogue.


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
    wildcard_constraints:
        task=CLASSIFYING,
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


rule detect:
    input:
        images=searched_files,
        model=model_of,
        code=stage_code("detect"),
    output:
        fits=f"{RUN}/{{task}}/catalogue.fits",
        ecsv=f"{RUN}/{{task}}/catalogue.ecsv",
        regions=f"{RUN}/{{task}}/catalogue.reg",
        submission=f"{RUN}/{{task}}/submission.txt",
    log:
        f"{RUN}/logs/{{task}}/detect.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/detect.tsv"
    wildcard_constraints:
        task=DETECTING,
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=0,
    params:
        config=CONFIG,
        simulated=simulated_option,
        settings=stage_settings("purity", "symmetries"),
    message:
        "{wildcards.task}: finding and measuring sources"
    shell:
        "fleming detect --config {params.config:q} --task {wildcards.task} {params.simulated}"
        " --model {input.model:q} --out {output.fits:q} --out {output.ecsv:q} --out {output.submission:q}"
        " --regions {output.regions:q} --log {log:q}"
