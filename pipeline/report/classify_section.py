"""A classification task on the page: what it reached, against what, at what cost, and where the files are."""

from pathlib import Path
from typing import Any

from pipeline.report.cost_table import cost_tiles, layer_table
from pipeline.report.html import (
    Markup,
    anchor,
    count,
    join,
    link,
    number,
    percent,
    picture,
    share_bar,
    span_text,
    table,
    tag,
)
from pipeline.report.task_files import TaskFiles

NEEDED = ("metrics.json", "training.json", "cost.json", "catalogue.fits", "figures/captions.json")
_DOWNLOADS = (
    "catalogue.fits",
    "catalogue.ecsv",
    "catalogue.vot",
    "model.safetensors",
    "metrics.json",
    "history.csv",
)
# key, name, whether larger is better, meaning
_MEASURES = (
    ("accuracy", "Accuracy", True, "Share of objects given the right class, with its 95 % interval."),
    ("balanced_accuracy", "Balanced accuracy", True, "Mean of the classes' recalls: a common class counts no more."),
    ("f1_macro", "F1, mean of classes", True, "Harmonic mean of recall and precision; 1 is perfect."),
    ("ece", "Calibration error (ECE)", False, "Mean gap between the stated probability and the share that is right."),
    ("brier", "Brier score", False, "Squared error of the probabilities; 0 is perfect."),
    ("log_loss", "Log loss", False, "Mean −ln of the probability given to the truth; 0 is perfect."),
)
_MULTILABEL_MEANINGS = {
    "accuracy": "Share of objects with every label right, with its 95 % interval.",
    "balanced_accuracy": "Mean over labels of the recall of having it and of lacking it.",
}


def classify_card(name: str, metrics: dict[str, Any]) -> Markup:
    """The summary of one task at the top of the page: a link with its accuracy beside the baseline's."""
    network, baseline = metrics["network"], metrics["baseline"]
    bars = [
        part
        for label, look, scores in (("network", "network", network), ("logistic regression", "baseline", baseline))
        for part in (
            tag("span", label),
            share_bar(*(scores[key] for key in ("accuracy", "accuracy_low", "accuracy_high")), look),
            tag("span", percent(scores["accuracy"])),
        )
    ]
    return tag(
        "a",
        tag("div", name, class_="name"),
        tag("p", percent(network["accuracy"]), class_="big"),
        tag("div", f"accuracy on {network['n']:,} {metrics['split']} objects", class_="muted"),
        tag("div", *bars, class_="bars"),
        class_="card",
        href=f"#{anchor(name)}",
    )


def classify_section(name: str, files: TaskFiles, metrics: dict[str, Any], beside: Path) -> Markup:
    """The section of one task; links are relative to the folder `beside`.

    Raises
    ------
    UserError : a figure named in captions.json is absent or is not a PNG.
    """
    kind = "Classification, several labels an object" if metrics["multilabel"] else "Classification"
    figures = [
        picture(files.path("figures") / Path(entry["file"]).name, entry["title"], entry["caption"])
        for entry in files.json("figures/captions.json")
    ]
    training, cost = files.json("training.json"), files.json("cost.json")
    return tag(
        "section",
        tag("p", kind, class_="kicker"),
        tag("h2", name),
        tag("p", headline(metrics), class_="lead"),
        tag("div", *figures, class_="figures"),
        tag("h3", "Measures"),
        _measures(metrics),
        tag("h3", "Classes"),
        _classes(metrics),
        tag("h3", "Cost"),
        cost_tiles(training, "object"),
        tag("details", tag("summary", "The network, layer by layer"), layer_table(cost)),
        tag("h3", "Files"),
        tag("ul", *[tag("li", link(path, beside)) for path in _existing(files)], class_="files"),
        class_="task",
        id=anchor(name),
    )


def headline(metrics: dict[str, Any]) -> str:
    """What was reached, in sentences: the accuracy, the straight line's, and whether they differ."""
    network, baseline, n = metrics["network"], metrics["baseline"], metrics["network"]["n"]
    if not n:
        return f"The {metrics['split']} set holds no object: nothing was measured."
    right = "had every label right" if metrics["multilabel"] else "were given the right class"
    first = (
        f"Of {n:,} {metrics['split']} objects that the network had never seen, {percent(network['accuracy'])} {right} "
        f"(95 % interval {span_text(network['accuracy_low'], network['accuracy_high'])})."
    )
    if not baseline["n"]:
        return first
    second = (
        f"Logistic regression on the same inputs reached {percent(baseline['accuracy'])} "
        f"({span_text(baseline['accuracy_low'], baseline['accuracy_high'])})."
    )
    if network["accuracy_low"] > baseline["accuracy_high"]:
        third = "The intervals do not overlap: the network is clearly better."
    elif network["accuracy_high"] < baseline["accuracy_low"]:
        third = "The intervals do not overlap: logistic regression is clearly better, prefer it to this network."
    else:
        third = "The intervals overlap: this many objects cannot tell the two apart with confidence."
    return f"{first} {second} {third}"


def _measures(metrics: dict[str, Any]) -> Markup:
    rows = []
    for key, name, larger, meaning in _MEASURES:
        pair = [metrics[side][key] for side in ("network", "baseline")]
        known = None not in pair and pair[0] != pair[1]
        cells = []
        for place, (side, value) in enumerate(zip(("network", "baseline"), pair, strict=True)):
            shown = percent(value) if "accuracy" in key else number(value)
            best = known and (value > pair[1 - place]) == larger
            cells.append(join([tag("strong", shown) if best else shown, _aside(metrics, side, key)], " "))
        meaning = _MULTILABEL_MEANINGS.get(key, meaning) if metrics["multilabel"] else meaning
        rows.append([name, *cells, tag("span", meaning, class_="meaning")])
    return table(["measure", "network", "logistic regression", "what it means"], rows, numbers=(1, 2))


def _aside(metrics: dict[str, Any], side: str, key: str) -> Markup:
    """The interval of the accuracy, and what a calibrated measure was before calibration."""
    scores = metrics[side]
    if key == "accuracy":
        return tag("span", span_text(scores["accuracy_low"], scores["accuracy_high"]), class_="muted")
    before = metrics["uncalibrated"].get(key) if side == "network" else None
    return tag("span", f"{number(before)} as trained", class_="muted") if before is not None else Markup("")


def _classes(metrics: dict[str, Any]) -> Markup:
    network, baseline = metrics["network"]["per_class"], metrics["baseline"]["per_class"]
    rows = []
    for name in metrics["classes"]:
        own = network[name]
        spread = tag("span", span_text(own["recall_low"], own["recall_high"]), class_="muted")
        rows.append(
            [
                tag("strong", name),
                *(count(metrics["counts"].get(split, {}).get(name)) for split in ("train", "validation")),
                count(own["n"]),
                join([percent(own["recall"]), spread], " "),
                percent(baseline[name]["recall"]),
                percent(own["precision"]),
                *(number(own[key]) for key in ("f1", "auc", "ap")),
            ]
        )
    head = ["class", "train", "validation", "test", "recall", "recall, logistic", "precision", "F1", "AUC", "AP"]
    legend = (
        "Recall: share of the class that is found. Precision: share of those called so that are. AUC: chance that an "
        "object of the class ranks above another. AP: mean precision over all recalls."
    )
    return join([table(head, rows, numbers=range(1, len(head))), tag("p", legend, class_="muted")])


def _existing(files: TaskFiles) -> list[Path]:
    return [files.path(name) for name in _DOWNLOADS if files.path(name).is_file()]
