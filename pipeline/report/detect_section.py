"""A detection task on the page: what it reached, at what cost, and where the files are."""

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

NEEDED = ("metrics.json", "matches.csv", "catalogue.fits", "figures/captions.json")
_DOWNLOADS = (
    "catalogue.fits", "catalogue.ecsv", "catalogue.reg", "submission.txt", "model.safetensors", "adapted.safetensors",
    "metrics.json", "matches.csv", "history.csv",
)  # fmt: skip
_SUB_SCORES = {
    "position": "position", "flux": "flux", "b_maj": "major axis", "b_min": "minor axis", "pa": "position angle",
    "core_frac": "core fraction", "class": "class",
}  # fmt: skip


def detect_card(name: str, metrics: dict[str, Any]) -> Markup:
    """The summary of one task at the top of the page: its score, purity and completeness, or only its length."""
    if metrics["n_truth"] is None:
        lines = [tag("p", count(metrics["n_listed"]), class_="big"), tag("div", "sources listed", class_="muted")]
    else:
        bars = []
        for label, row in (("purity", _purity(metrics)), ("complete, SNR > 5", metrics["complete_above"]["5"])):
            bars += [
                tag("span", label),
                share_bar(row["fraction"], row["low"], row["high"], "network"),
                tag("span", percent(row["fraction"])),
            ]
        lines = [
            tag("p", number(metrics["score"], 0), class_="big"),
            tag("div", f"points for {metrics['n_det']:,} detections", class_="muted"),
            tag("div", *bars, class_="bars"),
        ]
    return tag("a", tag("div", name, class_="name"), *lines, class_="card", href=f"#{anchor(name)}")


def detect_section(name: str, files: TaskFiles, metrics: dict[str, Any], beside: Path) -> Markup:
    """The section of one task; links are relative to the folder `beside`.

    Raises
    ------
    UserError : a figure named in captions.json is absent or is not a PNG.
    """
    figures = [
        picture(files.path("figures") / Path(entry["file"]).name, entry["title"], entry["caption"])
        for entry in files.json("figures/captions.json")
    ]
    body = [tag("p", "Detection", class_="kicker"), tag("h2", name), tag("p", headline(metrics), class_="lead")]
    if figures:
        body.append(tag("div", *figures, class_="figures"))
    if metrics["n_truth"] is not None:
        body += [
            tag("h3", "Measures"),
            _measures(metrics),
            tag("h3", "Where the score comes from"),
            _sub_scores(metrics),
        ]
        body += [tag("h3", "Judged images"), _frames(metrics)]
    body += _cost(files, metrics)
    links = [tag("li", link(files.path(file), beside)) for file in _DOWNLOADS if files.has(file)]
    body += [tag("h3", "Files"), tag("ul", *links, class_="files")]
    return tag("section", *body, class_="task", id=anchor(name))


def headline(metrics: dict[str, Any]) -> str:
    """What was reached, in sentences."""
    if metrics["n_truth"] is None:
        return (
            f"The catalogue lists {metrics['n_listed']:,} sources. No image with a truth was given: nothing was judged."
        )
    if not metrics["n_det"]:
        return "The catalogue lists no source in the sky that is judged."
    deep = metrics["complete_above"]["5"]
    first = (
        f"Of {metrics['n_det']:,} detections in sky that was not trained on {percent(metrics['purity'])} are true "
        f"sources by the rule of {metrics['challenge']['name'].upper()}."
    )
    if deep["fraction"] is None:
        return f"{first} The truth holds no source brighter than 5 times the noise."
    second = (
        f"Of the {deep['count']:,} sources brighter than 5 times the noise {percent(deep['fraction'])} were found "
        f"({span_text(deep['low'], deep['high'])})."
    )
    return f"{first} {second}"


def _purity(metrics: dict[str, Any]) -> dict[str, float | None]:
    return {"fraction": metrics["purity"], "low": metrics["purity_low"], "high": metrics["purity_high"]}


def _measures(metrics: dict[str, Any]) -> Markup:
    ap, errors, chance = metrics["ap"], metrics["errors"], metrics["chance"]
    rows = [
        (
            "Score",
            number(metrics["score"], 1),
            "Points of the challenge: the matches' scores less the false detections.",
        ),
        (
            "Score, constant angle",
            number(metrics["score_constant"], 1),
            "The same catalogue with one angle and core fraction in every row, which the challenge's fold rewards.",
        ),
        ("Points a match", number(metrics["score_per_match"]), "Mean score of a match; 1 is perfect."),
        ("Purity", _interval(_purity(metrics)), "Share of the detections that match a source."),
        ("Matches by chance", percent(chance["fraction"]), "Share that matches when the catalogue is moved."),
    ]
    rows += [
        (f"Complete, SNR {label}", _interval(metrics["complete_above"][key]), "Share of these sources that is listed.")
        for key, label in (("3", "above 3"), ("5", "above 5"), ("4-5", "4 to 5"))
    ]
    for limit in ("3", "5"):
        found = ap[f"snr_above_{limit}"]
        rows.append(
            (f"AP, SNR above {limit}", number(found["match"]["ap"]), "Mean precision over recall, by the match.")
        )
        rows.append(
            (f"Box mAP, SNR above {limit}", number(found["map"]), "Mean over overlaps of boxes of 0.5 to 0.95.")
        )
    for key, label, unit in (
        ("pa_error_deg", "Angle", "°"),
        ("b_maj_error_arcsec", "Major axis", "″"),
        ("b_min_error_arcsec", "Minor axis", "″"),
    ):
        value = errors[key]["p68"]
        shown = "–" if value is None else f"{number(value, 2)} {unit}"
        rows.append((f"{label}, error", shown, "68 % of the matches are nearer to the truth than this."))
    if metrics["reliability"]:
        ece = number(metrics["reliability"]["ece"])
        rows.append(("Calibration error (ECE)", ece, "Mean gap between the stated probability and the true share."))
        for asked, row in metrics["asked_purity"].items():
            told = percent(row["purity"]) if row["count"] else "not reached"
            meaning = f"Purity of the {row['count']:,} detections kept when so much is asked for."
            rows.append((f"Asked for purity {asked}", told, meaning))
    cells = [[name, value, tag("span", meaning, class_="meaning")] for name, value, meaning in rows]
    return table(["measure", "value", "what it means"], cells, numbers=(1,))


def _interval(row: dict[str, float | None]) -> Markup:
    return join([percent(row["fraction"]), tag("span", span_text(row["low"], row["high"]), class_="muted")], " ")


def _sub_scores(metrics: dict[str, Any]) -> Markup:
    scores = metrics["sub_scores"] or {}
    rows = [[_SUB_SCORES.get(name, name), number(value)] for name, value in scores.items()]
    return table(["parameter", "mean score of a match"], rows, numbers=(1,))


def _frames(metrics: dict[str, Any]) -> Markup:
    rows = []
    for frame in metrics["frames"]:
        low, high = frame["section"][0]
        judged = f"rows {low:,} to {high - 1:,}"
        figures = [count(frame[key]) for key in ("n_truth", "n_det", "n_match")]
        rows.append(
            [tag("span", Path(frame["image"]).name, class_="wrap"), judged, *figures, number(frame["score"], 1)]
        )
    head = ["image", "judged", "true sources", "detections", "matches", "score"]
    return table(head, rows, numbers=range(2, len(head)))


def _cost(files: TaskFiles, metrics: dict[str, Any]) -> list[Markup]:
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
