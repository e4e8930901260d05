"""The report: one HTML file that holds everything it shows, opens anywhere and loads nothing from the network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, UserErrors
from pipeline.files import write_text
from pipeline.report import classify_section, detect_section, generate_section, hi_section
from pipeline.report.html import Markup, join, table, tag
from pipeline.report.sheet import SHEET
from pipeline.report.task_files import TaskFiles, known_kind


@dataclass(frozen=True)
class Section:
    """How a kind of task is shown: the files it needs, its card at the top and its section."""

    needed: tuple[str, ...]
    card: Callable[[str, dict[str, Any]], Markup]
    body: Callable[[str, TaskFiles, dict[str, Any], Path], Markup]


SECTIONS = {
    "classify": Section(classify_section.NEEDED, classify_section.classify_card, classify_section.classify_section),
    "detect": Section(detect_section.NEEDED, detect_section.detect_card, detect_section.detect_section),
    "hi": Section(hi_section.NEEDED, hi_section.hi_card, hi_section.hi_section),
    "generate": Section(generate_section.NEEDED, generate_section.generate_card, generate_section.generate_section),
}

# The page is made of numbers and pictures only: a browser is told to refuse anything else.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(run_folder: str | Path, tasks: list[str], out: str | Path, config_text: str) -> None:
    """Write the report of a run to `out`, from the result files in `<run_folder>/<task>/`.

    Parameters
    ----------
    run_folder : the folder of the run; its name is the title.
    tasks : names of the tasks, in the order in which they are shown.
    out : the HTML file; links to catalogues are relative to its folder.
    config_text : the config file of the run, shown as it is.

    Raises
    ------
    UserError : files are absent (all are named, with the stage to run), damaged, or of an unknown kind of task.
    """
    out, title = Path(out), Path(run_folder).resolve().name
    files, metrics = _read(Path(run_folder), tasks)
    shown = [SECTIONS[metrics[name]["kind"]] for name in tasks]
    cards = [section.card(name, metrics[name]) for section, name in zip(shown, tasks, strict=True)]
    bodies = [
        section.body(name, files[name], metrics[name], out.parent) for section, name in zip(shown, tasks, strict=True)
    ]
    provenance = {name: metrics[name].get("provenance", {}) for name in tasks}
    body = tag(
        "main",
        tag(
            "header",
            tag("p", "Fleming report", class_="kicker"),
            tag("h1", title),
            tag("p", _subtitle(tasks, provenance), class_="muted"),
            tag("nav", *cards, class_="cards"),
            class_="top",
        ),
        *bodies,
        _origin(provenance, config_text),
    )
    write_text(out, _document(title, body))


def _read(run_folder: Path, tasks: list[str]) -> tuple[dict[str, TaskFiles], dict[str, dict[str, Any]]]:
    files, metrics, problems = {}, {}, []
    for name in tasks:
        try:
            reader = TaskFiles(run_folder / name, ("metrics.json",))
            metrics[name] = reader.json("metrics.json")
            kind = known_kind(reader, SECTIONS)
            files[name] = TaskFiles(run_folder / name, SECTIONS[kind].needed, kind)
        except UserError as error:
            problems.append(error)
    if problems:
        raise UserErrors(problems)
    return files, metrics


def _subtitle(tasks: list[str], provenance: dict[str, dict[str, Any]]) -> str:
    number = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
    dates = sorted(str(entry["date"]) for entry in provenance.values() if entry.get("date"))
    versions = sorted({str(entry["fleming"]) for entry in provenance.values() if entry.get("fleming")})
    measured = [f"measured {dates[-1].replace('T', ' ')}"] if dates else []
    return " · ".join([number, *measured, *(f"Fleming {version}" for version in versions)])


def _origin(provenance: dict[str, dict[str, Any]], config_text: str) -> Markup:
    """Versions, commit and commands; said once where all tasks agree, else task by task."""
    keys = list(dict.fromkeys(key for entry in provenance.values() for key in entry))
    rows = []
    for key in keys:
        values = {name: str(entry.get(key, "–")) for name, entry in provenance.items()}
        if len(set(values.values())) == 1:
            shown = tag("code", next(iter(values.values())), class_="wrap")
        else:
            lines = [join([tag("span", name, class_="muted"), tag("code", text)]) for name, text in values.items()]
            shown = join([tag("div", line, class_="wrap") for line in lines])
        rows.append([tag("strong", key), shown])
    return tag(
        "section",
        tag("p", "Origin", class_="kicker"),
        tag("h2", "How to get these numbers again"),
        tag("p", "The same commit, config and seed give the same catalogue on the same kind of processor."),
        table(["", "value"], rows),
        tag("details", tag("summary", "Config of this run"), tag("pre", config_text)),
        class_="task",
        id="origin",
    )


def _document(title: str, body: Markup) -> str:
    head = [
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", f"{title} – Fleming report"),
        Markup(f"<style>{SHEET}</style>"),
    ]
    page = Markup(f'<html lang="en">\n<head>\n{join(head)}\n</head>\n{tag("body", body)}\n</html>')
    return f"<!doctype html>\n{page}\n"
