"""A detection task on the page: what it reached, at what cost, and where the files are."""

from pathlib import Path
from typing import Any

from pipeline.report.html import Markup, anchor, count, number, percent, span_text, table, tag
from pipeline.report.section_parts import asked_rows, card, cost, downloads, figures, interval, purity
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
    points = f"points for {metrics['n_det']:,} detections" if metrics["n_truth"] is not None else ""
    return card(name, metrics, number(metrics.get("score"), 0), points, "sources")


def detect_section(name: str, files: TaskFiles, metrics: dict[str, Any], beside: Path) -> Markup:
    """The section of one task; links are relative to the folder `beside`.

    Raises
    ------
    UserError : a figure named in captions.json is absent or is not a PNG.
    """
    body = [tag("p", "Detection", class_="kicker"), tag("h2", name), tag("p", headline(metrics), class_="lead")]
    body += figures(files)
    if metrics["n_truth"] is not None:
        body += [
            tag("h3", "Measures"),
            _measures(metrics),
            tag("h3", "Where the score comes from"),
            _sub_scores(metrics),
        ]
        body += [tag("h3", "Judged images"), _frames(metrics)]
    body += cost(files, metrics) + downloads(files, _DOWNLOADS, beside)
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
        ("Purity", interval(purity(metrics)), "Share of the detections that match a source."),
        ("Matches by chance", percent(chance["fraction"]), "Share that matches when the catalogue is moved."),
    ]
    rows += [
        (f"Complete, SNR {label}", interval(metrics["complete_above"][key]), "Share of these sources that is listed.")
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
        rows += asked_rows(metrics)
    cells = [[name, value, tag("span", meaning, class_="meaning")] for name, value, meaning in rows]
    return table(["measure", "value", "what it means"], cells, numbers=(1,))


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
