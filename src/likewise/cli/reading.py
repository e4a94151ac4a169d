"""The commands that only read: methods, explain, runs, report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import RUNS, Json, app

if TYPE_CHECKING:
    from likewise.method import Method


@app.command("methods")
def list_methods(as_json: Json = False) -> None:
    """List the ways to teach a concept.

    \b
    Example:
      likewise methods
    """
    from likewise import methods

    found = [(name, methods.get(name)) for name in methods.names()]
    if as_json:
        terminal.result_json([_facts(name, method) for name, method in found])
        return
    rows = [(name, method.stackable, " ".join(method.summary.split())) for name, method in found]
    terminal.table(("method", "stackable", "what it changes, what it leaves behind"), rows)
    terminal.say("\nlikewise explain NAME says more; stackable ones teach several concepts at once")


def _facts(name: str, method: Method[Any]) -> dict[str, Any]:
    return {
        "name": name,
        "title": method.title,
        "paper": method.paper,
        "summary": " ".join(method.summary.split()),
        "stackable": method.stackable,
        "trains": method.trains,
    }


@app.command()
def explain(
    method: Annotated[str, typer.Argument(metavar="METHOD", hidden=True)],
    as_json: Json = False,
) -> None:
    """Explain a method and every setting of it.

    \b
    Example:
      likewise explain lora
    """
    from likewise import methods

    found = methods.get(method)
    settings, refusals = list(_settings(found)), dict(_refusals(found))
    if as_json:
        name = method.strip().lower().replace("-", "_")
        terminal.result_json({**_facts(name, found), "settings": settings, "cannot_teach": refusals})
        return
    terminal.result(f"{found.title}  ({found.paper})\n")
    terminal.paragraph(" ".join(found.summary.split()))
    for family, reason in refusals.items():
        terminal.paragraph(f"Cannot teach {family}: {reason}")
    terminal.result("\nSettings, written as key=value:\n")
    for setting in settings:
        terminal.result(f"  {setting['key']}={_written(setting['default'])}")
        terminal.paragraph(setting["meaning"] + _choices(setting), indent="      ")


def _settings(method: Method[Any]) -> Iterator[dict[str, Any]]:
    """A method's own settings first, then those that every method has; all from the recipe's schema."""
    from likewise.recipe import Recipe

    properties = method.recipe.model_json_schema()["properties"]
    shared = Recipe.model_json_schema()["properties"]
    for key in sorted(properties, key=lambda key: properties[key] == shared.get(key)):
        schema, common = properties[key], shared.get(key, {}).get("description", "")
        meaning = schema.get("description", "")
        if common and meaning != common:  # a method that gives its own default says where it comes from
            meaning = f"{common} {meaning}"
        row = {
            "key": key,
            "default": schema.get("default"),
            "meaning": " ".join(meaning.replace("`", "").split()),
        }
        yield row | ({"choices": schema["enum"]} if "enum" in schema else {})


def _written(value: Any) -> str:
    if value is None:
        return ""
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _choices(setting: dict[str, Any]) -> str:
    """The choices, where the meaning does not name them all."""
    missing = [choice for choice in setting.get("choices", ()) if str(choice) not in setting["meaning"]]
    return f" One of {', '.join(map(str, setting['choices']))}." if missing else ""


def _refusals(method: Method[Any]) -> Iterator[tuple[str, str]]:
    """Families that this method cannot teach, with the reason, asked of a miniature of each."""
    from likewise import families

    for name in families.names():
        reason = method.unsupported(families.load(f"tiny:{name}"))
        if reason:
            yield name, reason


@app.command("runs")
def list_runs(
    root: Annotated[Path, typer.Argument(metavar="ROOT", hidden=True)] = RUNS,
    as_json: Json = False,
) -> None:
    """List what has been taught.

    Looks below ROOT, which is runs/ unless another folder is named.

    \b
    Example:
      likewise runs
      likewise runs elsewhere --json
    """
    from likewise import records

    found = records.runs(root)
    if as_json:
        terminal.result_json(found)
        return
    if not found:
        terminal.say(f"no runs in {terminal.short(root.absolute())} yet; likewise teach starts one")
        return
    rows = [
        (
            terminal.short(Path(row["folder"]).absolute()),
            *(row.get(key) for key in ("method", "concept", "token", "status", "steps")),
            terminal.duration(row["seconds"]) if row.get("seconds") else "",
            terminal.size(row["bytes"]) if row.get("bytes") else "",
        )
        for row in found
    ]
    titles = ("run", "method", "concept", "token", "status", "steps", "time", "size")
    terminal.table(titles, rows, right=("steps", "time", "size"))


@app.command("report")
def rebuild_report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", hidden=True)],
    survey: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A store of the survey: also say how common each kind of file is."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build a comparison's report again.

    How common a kind of file is has weight zero in everything else that the report says.

    \b
    Example:
      likewise report comparisons/2026-11-23-cat-1
      likewise report comparisons/2026-11-23-cat-1 --survey survey.duckdb
    """
    from likewise.comparison import report

    if as_json:
        terminal.result_json(
            {"summary": report.summary(folder, survey=survey), "table": report.table(folder)}
        )
        return
    terminal.result(terminal.short(report.build(folder, survey=survey)))
