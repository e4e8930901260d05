"""A task of HI galaxies on the page: what it reached, a matched filter beside it, its cost, and its files."""

from pathlib import Path
from typing import Any

from pipeline.report.html import Markup, anchor, count, number, percent, span_text, table, tag
from pipeline.report.section_parts import asked_rows, card, cost, downloads, figures, interval, purity
from pipeline.report.task_files import TaskFiles

NEEDED = ("metrics.json", "matches.csv", "catalogue.fits", "figures/captions.json")
_DOWNLOADS = (
    "catalogue.fits", "catalogue.ecsv", "catalogue.reg", "submission.txt", "candidates.fits", "model.safetensors",
    "adapted.safetensors", "metrics.json", "matches.csv", "history.csv",
)  # fmt: skip
_SUB_SCORES = {
    "position": "position", "central_freq": "frequency", "flux": "line flux", "hi_size": "HI size",
    "pa": "position angle", "w20": "line width", "i": "inclination",
}  # fmt: skip
_ORDERS = {"network": "probability", "matched_filter": "matched filter alone"}
_CUTS = {
    "chosen": "threshold chosen on validation", "same_length": "as many as the catalogue",
    "best": "best cut, chosen on this truth",
}  # fmt: skip


def hi_card(name: str, metrics: dict[str, Any]) -> Markup:
    """The summary of one task at the top of the page: its score, purity and completeness, or only its length."""
    small = "" if metrics["n_truth"] is None else f"points a true galaxy, {metrics['n_det']:,} detections"
    return card(name, metrics, number(metrics.get("score_per_truth")), small, "galaxies")


def hi_section(name: str, files: TaskFiles, metrics: dict[str, Any], beside: Path) -> Markup:
    """The section of one task; links are relative to the folder `beside`.

    Raises
    ------
    UserError : a figure named in captions.json is absent or is not a PNG.
    """
    body = [tag("p", "HI galaxies", class_="kicker"), tag("h2", name), tag("p", headline(metrics), class_="lead")]
    body += figures(files)
    if metrics["n_truth"] is not None:
        body += [
            tag("h3", "Measures"),
            _measures(metrics),
            tag("h3", "Where the score comes from"),
            _sub_scores(metrics),
            tag("h3", "The same candidates in other orders"),
            _orders(metrics),
            tag("h3", "Judged cubes"),
            _cubes(metrics),
        ]
    body += cost(files, metrics) + downloads(files, _DOWNLOADS, beside)
    return tag("section", *body, class_="task", id=anchor(name))


def headline(metrics: dict[str, Any]) -> str:
    """What was reached, in sentences."""
    if metrics["n_truth"] is None:
        return (
            f"The catalogue lists {metrics['n_listed']:,} galaxies. No cube with a truth was given: nothing was judged."
        )
    if not metrics["n_det"]:
        return "The catalogue lists no galaxy in the cubes that are judged."
    deep = metrics["complete_above"]["7"]
    first = f"Of {metrics['n_det']:,} detections {percent(metrics['purity'])} are true galaxies by the rule of SDC2."
    if deep["fraction"] is None:
        return f"{first} The truth holds no galaxy brighter than 7 times the noise."
    second = (
        f"Of the {deep['count']:,} galaxies brighter than 7 times the noise {percent(deep['fraction'])} were found "
        f"({span_text(deep['low'], deep['high'])})."
    )
    return f"{first} {second}"


def _measures(metrics: dict[str, Any]) -> Markup:
    scatter, errors = metrics["score_sd"], metrics["errors"]
    rows = [
        (
            "Score",
            _with_scatter(metrics["score"], scatter["score"], 1),
            "Points: matches' scores less false detections.",
        ),
        (
            "Score per true galaxy",
            _with_scatter(metrics["score_per_truth"], scatter["score_per_truth"], 3),
            "The same over all true galaxies, most of which are too faint for any finder; ± between skies.",
        ),
        (
            "In the full cube of SDC2",
            number(metrics["sdc2_equivalent"], 0),
            "What so many points per galaxy make of the challenge's 233,245.",
        ),
        ("Points a match", number(metrics["score_per_match"]), "Mean score of a match; 1 is perfect."),
        ("Purity", interval(purity(metrics)), "Share of the detections that match a galaxy."),
        (
            "Matches by chance",
            percent(metrics["chance"]["fraction"]),
            "Share that matches when the catalogue is moved.",
        ),
    ]
    rows += [
        (f"Complete, SNR {label}", interval(metrics["complete_above"][key]), "Share of these galaxies that is listed.")
        for key, label in (("3", "above 3"), ("5", "above 5"), ("7", "above 7"), ("5-7", "5 to 7"), ("4-5", "4 to 5"))
    ]
    for limit in ("3", "5", "7"):
        found = metrics["ap"][f"snr_above_{limit}"]
        boxes = " / ".join(number(one["ap"]) for one in found["box"].values())
        rows.append(
            (f"AP, SNR above {limit}", number(found["match"]["ap"]), "Mean precision over recall, by the match.")
        )
        rows.append((f"Box AP, SNR above {limit}", boxes, f"When boxes must overlap by {' / '.join(found['box'])}."))
    for key, label, unit in (
        ("pa_error_deg", "Position angle", "°"),
        ("i_error_deg", "Inclination", "°"),
        ("hi_size_error_arcsec", "HI size", "″"),
    ):
        value = errors[key]["p68"]
        shown = "–" if value is None else f"{number(value, 2)} {unit}"
        rows.append((f"{label}, error", shown, "68 % of the matches are nearer to the truth than this."))
    turned = "Share of the matches whose receding side is named more than 90° off."
    rows.append(("Turned round", percent(metrics["pa_turned"]), turned))
    for key, label in (("reliability", "listed"), ("reliability_candidates", "all candidates")):
        if metrics[key]:
            meaning = "Mean gap between the stated probability and the true share."
            rows.append((f"Calibration error (ECE), {label}", number(metrics[key]["ece"]), meaning))
    rows += asked_rows(metrics)
    cells = [[name, value, tag("span", meaning, class_="meaning")] for name, value, meaning in rows]
    return table(["measure", "value", "what it means"], cells, numbers=(1,))


def _with_scatter(value: float | None, scatter: float | None, digits: int) -> str:
    return number(value, digits) if scatter is None else f"{number(value, digits)} ± {number(scatter, digits)}"


def _sub_scores(metrics: dict[str, Any]) -> Markup:
    rows = [[_SUB_SCORES.get(name, name), number(value)] for name, value in (metrics["sub_scores"] or {}).items()]
    return table(["parameter", "mean score of a match"], rows, numbers=(1,))


def _orders(metrics: dict[str, Any]) -> Markup:
    rows = []
    for name, order in metrics["rankings"].items():
        if order is None:
            continue
        ap = number(order["ap"]["snr_above_5"]["match"]["ap"])
        for key, cut in _CUTS.items():
            row = order[key]
            if row is not None:
                deep = [percent(row["complete_above"][limit]["fraction"]) for limit in ("5", "7")]
                told = [count(row["n_det"]), percent(row["purity"]), *deep, ap, number(row["score_per_truth"])]
                rows.append([_ORDERS[name], cut, *told])
    head = ["order", "cut", "detections", "purity", "complete, SNR > 5", "SNR > 7", "AP, SNR > 5", "score per galaxy"]
    if not rows:
        return tag("p", "The catalogue has neither probabilities nor matched-filter signal-to-noise ratios.")
    return table(head, rows, numbers=range(2, len(head)))


def _cubes(metrics: dict[str, Any]) -> Markup:
    rows = []
    for frame in metrics["frames"]:
        judged = ", ".join(
            f"{axis} {low:,}–{high - 1:,}" for axis, (low, high) in zip("zyx", frame["section"], strict=True)
        )
        counts = [count(frame[key]) for key in ("n_truth", "n_det", "n_match")]
        name = tag("span", Path(frame["cube"]).name, class_="wrap")
        rows.append([name, judged, *counts, number(frame["score_per_truth"])])
    head = ["cube", "judged pixels", "true galaxies", "detections", "matches", "score per galaxy"]
    return table(head, rows, numbers=range(2, len(head)))
