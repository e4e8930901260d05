"""A generative task on the page: how real its stamps are, method beside method, what was asked for, cost and files."""

from pathlib import Path
from typing import Any

from pipeline.report.html import Markup, anchor, count, duration, join, link, number, percent, table, tag
from pipeline.report.section_parts import figures
from pipeline.report.task_files import TaskFiles

NEEDED = ("metrics.json", "figures/captions.json")
_DOWNLOADS = ("galaxies.fits", "catalogue.fits", "catalogue.ecsv", "metrics.json", "statistics.csv")


def generate_card(name: str, metrics: dict[str, Any]) -> Markup:
    """The summary of one task at the top of the page: how well its stamps are told from real ones."""
    row = metrics["methods"][metrics["product"]]["realism"]
    floor = number(row["auc_floor"], 2)
    return tag(
        "a",
        tag("div", name, class_="name"),
        tag("p", number(row["auc"], 2), class_="big"),
        tag("div", f"real or synthetic (AUC; 0.5 cannot be told apart, real stamps reach {floor})", class_="muted"),
        tag("div", f"{metrics['product']}, {metrics['methods'][metrics['product']]['n']:,} stamps", class_="muted"),
        class_="card",
        href=f"#{anchor(name)}",
    )


def generate_section(name: str, files: TaskFiles, metrics: dict[str, Any], beside: Path) -> Markup:
    """The section of one task; links are relative to the folder `beside`.

    Raises
    ------
    UserError : a figure named in captions.json is absent or is not a PNG.
    """
    body = [tag("p", "Synthetic stamps", class_="kicker"), tag("h2", name), tag("p", headline(metrics), class_="lead")]
    body += figures(files)
    body += [tag("h3", "Methods"), _methods(metrics)]
    conditions = _conditions(metrics)
    if conditions is not None:
        body += [tag("h3", "What was asked for"), conditions]
    if any(row.get("recognised") for row in metrics["methods"].values()):
        body += [tag("h3", "What a classifier says"), _recognised(metrics)]
    body += [tag("h3", "Cost"), _cost(metrics), tag("h3", "Files"), _files(files, metrics, beside)]
    return tag("section", *body, class_="task", id=anchor(name))


def headline(metrics: dict[str, Any]) -> str:
    """What was reached, in sentences."""
    product = metrics["methods"][metrics["product"]]
    row, stamps = product["realism"], metrics["stamps"]
    parts = [
        f"{product['n']:,} stamps were made by {metrics['product']}, which learnt from {stamps['train']:,} real ones."
    ]
    if row["mean_w1"] is not None:
        parts.append(
            f"Their statistics differ from those of real stamps by {number(row['mean_w1'], 2)} standard deviations in "
            f"the mean, where real stamps differ by {number(row['mean_w1_floor'], 2)} among themselves."
        )
    ratio = row["neighbours"]["ratio"]
    if ratio is not None:
        parts.append(
            "They are no copies: they are as far from the training stamps as unseen real ones are."
            if ratio > 0.8
            else f"They are nearer to the training stamps than unseen real ones, by a factor of {number(ratio, 2)}."
        )
    return " ".join(parts)


def _methods(metrics: dict[str, Any]) -> Markup:
    rows = []
    some_features = any(row["realism"]["features"] for row in metrics["methods"].values())
    for name, method in metrics["methods"].items():
        row, features = method["realism"], method["realism"]["features"] or {}
        cells = [
            tag("strong", name) if name == metrics["product"] else name,
            _beside(row["mean_w1"], row["mean_w1_floor"]),
            _beside(row["auc"], row["auc_floor"]),
            _beside(row["power_spectrum"]["dex"], row["power_spectrum"]["dex_floor"]),
            number(row["neighbours"]["ratio"], 2),
        ]
        if some_features:
            for key in ("precision", "recall", "coverage", "frechet_distance"):
                cells.append(_beside(features.get(key), features.get(f"{key}_floor"), 2))
        rows.append(cells)
    head = ["method", "mean W1", "AUC", "spectrum [dex]", "neighbour"]
    head += ["precision", "recall", "coverage", "Fréchet"] if some_features else []
    legend = (
        "Beside each measure, its floor: the same of real stamps. Mean W1: mean Wasserstein distance of the statistics "
        "in standard deviations. AUC: of a forest that tells real from synthetic by the statistics, 0.5 is ideal. "
        "Spectrum: mean deviation of the power spectrum. Neighbour: distance to the nearest training stamp over that "
        "of unseen real ones, far below 1 is copying."
    )
    if some_features:
        legend += " Fréchet: the distance of that name. It, precision, recall and coverage are in our own features."
    return join([table(head, rows, numbers=range(1, len(head))), tag("p", legend, class_="muted")])


def _beside(value: float | None, floor: float | None, digits: int = 3) -> Markup:
    return join([number(value, digits), tag("span", f"floor {number(floor, digits)}", class_="muted")], " ")


def _conditions(metrics: dict[str, Any]) -> Markup | None:
    rows = []
    for name, method in metrics["methods"].items():
        for condition, row in method["realism"]["conditions"].items():
            unit = row["unit"] or (metrics["conditions"].get(condition) or "")
            held = row.get("held") or {}
            rows.append(
                [
                    name,
                    condition,
                    f"{number(row['bias'])} {unit}",
                    join(
                        [
                            f"{number(row['scatter'])} {unit}",
                            tag("span", f"real {number(held.get('scatter'))}", class_="muted"),
                        ],
                        " ",
                    ),
                    number(row["correlation"]),
                    count(row["n"]),
                ]
            )
    if not rows:
        return None
    head = ["method", "condition", "bias", "scatter", "correlation", "stamps"]
    return table(head, rows, numbers=range(2, len(head)))


def _recognised(metrics: dict[str, Any]) -> Markup:
    rows = []
    for name, method in metrics["methods"].items():
        row = method.get("recognised")
        if row:
            shares = ", ".join(f"{kind} {percent(share)}" for kind, share in row["shares"].items())
            rows.append([name, number(row["confidence"]), percent(row["accuracy"]), tag("span", shares, class_="wrap")])
    return table(["method", "mean confidence", "of the class asked for", "shares"], rows, numbers=(1, 2))


def _cost(metrics: dict[str, Any]) -> Markup:
    rows = []
    for name, method in metrics["methods"].items():
        training, sampling = method.get("training") or {}, method.get("sampling") or {}
        speed = sampling.get("stamps_per_second")
        rows.append(
            [
                name,
                count(training.get("parameters")),
                duration(training.get("seconds")),
                "–" if method.get("steps") is None else f"{method['steps']:g}",
                count(sampling.get("evaluations")),
                count(sampling.get("macs")),
                "–" if speed is None else count(round(speed)) if speed >= 100 else f"{speed:.3g}",
            ]
        )
    head = ["method", "parameters", "training", "steps", "evaluations", "multiply-adds of each", "stamps a second"]
    return table(head, rows, numbers=range(1, len(head)))


def _files(files: TaskFiles, metrics: dict[str, Any], beside: Path) -> Markup:
    names = [*_DOWNLOADS]
    for name in metrics["methods"]:
        names += [f"{name}/model.safetensors", f"{name}/outliers.csv"]
    links = []
    for name in names:
        if files.has(name):
            folder = Path(name).parent.as_posix()
            parts = [link(files.path(name), beside)] + (
                [] if folder == "." else [tag("span", f" {folder}", class_="muted")]
            )
            links.append(tag("li", *parts))
    return tag("ul", *links, class_="files")
