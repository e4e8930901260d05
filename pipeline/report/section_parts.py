"""What the sections of all tasks that make catalogues have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.report.cost_table import cost_tiles, layer_table
from pipeline.report.html import Markup, anchor, count, join, link, percent, picture, share_bar, span_text, tag
from pipeline.report.task_files import TaskFiles


def card(name: str, metrics: dict[str, Any], big: str, small: str, listed: str) -> Markup:
    """The summary of one task at the top of the page: its score, purity and completeness, or only its length.

    big, small : the score, and what it says. listed : what the rows of the catalogue are called.
    """
    if metrics["n_truth"] is None:
        lines = [tag("p", count(metrics["n_listed"]), class_="big"), tag("div", f"{listed} listed", class_="muted")]
    else:
        bars = []
        for label, row in (("purity", purity(metrics)), ("complete, SNR > 5", metrics["complete_above"]["5"])):
            bars += [
                tag("span", label),
                share_bar(row["fraction"], row["low"], row["high"], "network"),
                tag("span", percent(row["fraction"])),
            ]
        lines = [tag("p", big, class_="big"), tag("div", small, class_="muted"), tag("div", *bars, class_="bars")]
    return tag("a", tag("div", name, class_="name"), *lines, class_="card", href=f"#{anchor(name)}")


def figures(files: TaskFiles) -> list[Markup]:
    """The figures that captions.json names, none or one part.

    Raises
    ------
    UserError : one is absent or is not a PNG.
    """
    shown = [
        picture(files.path("figures") / Path(entry["file"]).name, entry["title"], entry["caption"])
        for entry in files.json("figures/captions.json")
    ]
    return [tag("div", *shown, class_="figures")] if shown else []


def purity(metrics: dict[str, Any]) -> dict[str, float | None]:
    """The share of the detections that are true, with its ends."""
    return {"fraction": metrics["purity"], "low": metrics["purity_low"], "high": metrics["purity_high"]}


def interval(row: dict[str, float | None]) -> Markup:
    """A share with its 68 % interval."""
    return join([percent(row["fraction"]), tag("span", span_text(row["low"], row["high"]), class_="muted")], " ")


def asked_rows(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What became of the purities that were asked for: name, value and meaning of each."""
    rows = []
    for asked, row in (metrics["asked_purity"] or {}).items():
        told = percent(row["purity"]) if row["count"] else "not reached"
        meaning = f"Purity of the {row['count']:,} detections kept when so much is asked for."
        rows.append((f"Asked for purity {asked}", told, meaning))
    return rows


def cost(files: TaskFiles, metrics: dict[str, Any]) -> list[Markup]:
    """What training cost; the network alone where a trained model was given."""
    parts = [tag("h3", "Cost")]
    if files.has("training.json"):
        parts.append(cost_tiles(files.json("training.json"), "crop"))
    else:
        parts.append(tag("p", "The model was trained before."))
    if files.has("cost.json"):
        parts.append(
            tag("details", tag("summary", "The network, layer by layer"), layer_table(files.json("cost.json")))
        )
    else:
        parts.append(tag("p", "Network: ", tag("code", metrics["network"], class_="wrap")))
    return parts


def downloads(files: TaskFiles, names: Sequence[str], beside: Path) -> list[Markup]:
    """Links to those of the files that are there."""
    links = [tag("li", link(files.path(name), beside)) for name in names if files.has(name)]
    return [tag("h3", "Files"), tag("ul", *links, class_="files")]
