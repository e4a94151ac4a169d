"""The commands that explain what there is to choose from: methods, explain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import Json, app

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
    base: Annotated[
        str | None, typer.Option(metavar="BASE", help="Show what its maker advises beside the defaults.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain a method and every setting of it.

    Without BASE the method's own defaults are shown. The maker of a base may advise others, which teach takes.

    \b
    Example:
      likewise explain lora
      likewise explain lora --base pocket
    """
    found = _method(method)
    settings, refusals = list(_settings(found)), dict(_refusals(found))
    if base is not None:
        settings = list(_advised(settings, base, found))
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
        terminal.result(f"  {setting['key']}={_written(setting.get('advised', setting['default']))}")
        if "advised" in setting:
            terminal.paragraph(
                f"{setting['origin']} of {base} says so; what follows speaks of the method's default, "
                f"{_written(setting['default']) or 'empty'}.",
                indent="      ",
            )
        terminal.paragraph(setting["meaning"] + _choices(setting), indent="      ")


def _method(name: str) -> Method[Any]:
    """The method called `name`; raises `RecipeError` that says which method has a setting of this name."""
    from likewise import methods
    from likewise.errors import RecipeError

    having = [one for one in methods.names() if name in methods.get(one).recipe.model_fields]
    if having and name not in methods.names():
        raise RecipeError(
            f"{name} is a setting, not a method",
            f"likewise explain {having[0]} describes it{_also(having[1:])}",
        )
    return methods.get(name)


def _also(names: list[str]) -> str:
    return f"; {', '.join(names)} have it too" if names else ""


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


def _advised(settings: list[dict[str, Any]], base: str, method: Method[Any]) -> Iterator[dict[str, Any]]:
    """The settings, those with `advised` and its `origin` that the maker of a base would have otherwise."""
    from likewise import families

    advice, file = families.advised(base, method.name)
    read = method.recipe().override(advice).model_dump(mode="json")
    for setting in settings:
        key = setting["key"]
        yield setting | ({"advised": read[key], "origin": file} if key in advice else {})


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
