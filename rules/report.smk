# From result files to figures and the page.


rule figures:
    input:
        results=figure_files,
        code=stage_code("figures"),
    output:
        report(
            directory(f"{RUN}/{{task}}/figures"),
            patterns=["{figure}.png"],
            category="{task}",
            labels={"figure": "{figure}"},
            caption="captions/figures.rst",
        ),
    log:
        f"{RUN}/logs/{{task}}/figures.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/figures.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
        gpu=0,
    params:
        folder=subpath(output[0], parent=True),
    message:
        "{wildcards.task}: drawing the figures"
    shell:
        "fleming figures {params.folder:q} --log {log:q}"


rule report:
    input:
        metrics=expand("{run}/{task}/metrics.json", run=RUN, task=TASKS),
        training=expand("{run}/{task}/training.json", run=RUN, task=TRAINED),
        figures=expand("{run}/{task}/figures", run=RUN, task=TASKS),
        code=stage_code("report"),
    output:
        report(f"{RUN}/report.html", category="page", caption="captions/page.rst"),
    log:
        f"{RUN}/logs/report.log",
    benchmark:
        f"{RUN}/benchmarks/report.tsv"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
        gpu=0,
    params:
        config=CONFIG,
    message:
        "writing the report {output}"
    shell:
        "fleming report --config {params.config:q} --out {output:q} --log {log:q}"
