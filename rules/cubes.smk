# Galaxies in cubes: from a simulated sky or labelled cubes to a model, a catalogue and metrics.


rule simulate_cubes:
    input:
        code=stage_code("simulate_cubes"),
    output:
        expand(
            "{run}/{{task}}/simulated/{part}/{file}",
            run=RUN,
            part=["validation", "test"],
            file=["cube.fits", "truth.csv"],
        ),
    log:
        f"{RUN}/logs/{{task}}/simulate_cubes.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/simulate_cubes.tsv"
    wildcard_constraints:
        task=IN_CUBES,
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=0,
    params:
        config=CONFIG,
        folder=simulated_folder,
        settings=stage_settings("simulate", "practice.density", "practice.shape"),
    message:
        "{wildcards.task}: simulating a cube that chooses the thresholds and one to be judged on"
    shell:
        "fleming simulate --config {params.config:q} --task {wildcards.task} --out {params.folder:q} --log {log:q}"


rule train_cubes:
    input:
        cubes=learnt_files,
        code=stage_code("train_cubes"),
    output:
        model=f"{RUN}/{{task}}/model.safetensors",
        training=f"{RUN}/{{task}}/training.json",
        cost=f"{RUN}/{{task}}/cost.json",
        history=f"{RUN}/{{task}}/history.csv",
    log:
        f"{RUN}/logs/{{task}}/train_cubes.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/train_cubes.tsv"
    wildcard_constraints:
        task=IN_CUBES,
    threads: 2
    resources:
        mem_mb=growing(8000),
        runtime=growing(1440),
        gpu=0,
    params:
        config=CONFIG,
        simulated=simulated_option,
        settings=stage_settings("simulate", "frames.train", "practice", "model", "detector", "look"),
    message:
        "{wildcards.task}: training on simulated galaxies (a killed run goes on from its last epoch)"
    shell:
        "fleming train --config {params.config:q} --task {wildcards.task} {params.simulated}"
        " --out {output.model:q} --log {log:q}"


rule adapt_cubes:
    input:
        cubes=adapted_cube_files,
        model=first_model_of,
        code=stage_code("adapt_cubes"),
    output:
        model=f"{RUN}/{{task}}/adapted.safetensors",
        history=f"{RUN}/{{task}}/adapted-history.csv",
    log:
        f"{RUN}/logs/{{task}}/adapt_cubes.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/adapt_cubes.tsv"
    wildcard_constraints:
        task=IN_CUBES,
    threads: 2
    resources:
        mem_mb=growing(8000),
        runtime=growing(240),
        gpu=0,
    params:
        config=CONFIG,
        simulated=simulated_option,
        settings=stage_settings("adapt", "frames.continuum_limit"),
    message:
        "{wildcards.task}: adapting the detector to the noise and beam of {input.cubes[0]}"
    shell:
        "fleming adapt --config {params.config:q} --task {wildcards.task} {params.simulated}"
        " --model {input.model:q} --out {output.model:q} --log {log:q}"


rule detect_cubes:
    input:
        cubes=searched_cube_files,
        model=model_of,
        code=stage_code("detect_cubes"),
    output:
        fits=f"{RUN}/{{task}}/catalogue.fits",
        ecsv=f"{RUN}/{{task}}/catalogue.ecsv",
        regions=f"{RUN}/{{task}}/catalogue.reg",
        submission=f"{RUN}/{{task}}/submission.txt",
        candidates=f"{RUN}/{{task}}/candidates.fits",
    log:
        f"{RUN}/logs/{{task}}/detect_cubes.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/detect_cubes.tsv"
    wildcard_constraints:
        task=IN_CUBES,
    threads: 2
    resources:
        mem_mb=growing(5000),
        runtime=growing(1440),
        gpu=0,
    params:
        config=CONFIG,
        simulated=simulated_option,
        products=products_option,
        chunks=f"{RUN}/{{task}}/chunks",
        page=f"{RUN}/{{task}}",
        settings=stage_settings("purity", "look.symmetries", "products", "frames"),
    message:
        "{wildcards.task}: searching the cubes (a killed run goes on behind its last chunk)"
    shell:
        "fleming detect --config {params.config:q} --task {wildcards.task} {params.simulated} {params.products}"
        " --model {input.model:q} --out {output.fits:q} --out {output.ecsv:q} --out {output.submission:q}"
        " --regions {output.regions:q} --candidates {output.candidates:q} --chunks {params.chunks:q}"
        " --page {params.page:q} --log {log:q}"


rule evaluate_cubes:
    input:
        cubes=judged_files,
        model=model_of,
        catalogue=f"{RUN}/{{task}}/catalogue.fits",
        candidates=f"{RUN}/{{task}}/candidates.fits",
        code=stage_code("evaluate_cubes"),
    output:
        metrics=f"{RUN}/{{task}}/metrics.json",
        matches=f"{RUN}/{{task}}/matches.csv",
    log:
        f"{RUN}/logs/{{task}}/evaluate_cubes.log",
    benchmark:
        f"{RUN}/benchmarks/{{task}}/evaluate_cubes.tsv"
    wildcard_constraints:
        task=IN_CUBES,
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
        gpu=0,
    params:
        config=CONFIG,
        simulated=simulated_option,
        settings=stage_settings("frames", "purity"),
    message:
        "{wildcards.task}: comparing the catalogue with the galaxies that truly are there"
    shell:
        "fleming evaluate --config {params.config:q} --task {wildcards.task} {params.simulated}"
        " --model {input.model:q} --catalogue {input.catalogue:q} --candidates {input.candidates:q}"
        " --out {output.metrics:q} --log {log:q}"
