"""The command that says what teaching would take: estimate."""

from __future__ import annotations

from typing import Annotated

import typer

from likewise.cli import terminal
from likewise.cli.app import Json, app, split
from likewise.cli.teaching import BaseName, ClassPictures, Noun, Pictures, Token, announce, look, place
from likewise.wording import size_text, time_text

Methods = Annotated[str | None, typer.Option("--methods", metavar="A,B,...", help="Which ones; else all.")]


@app.command()
def estimate(
    pictures: Pictures = None,
    noun: Noun = None,
    names: Methods = None,
    base: BaseName = "pocket",
    token: Token = None,
    class_pictures: ClassPictures = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Trainings in one batch.")] = 1,
    as_json: Json = False,
) -> None:
    """Say how long teaching would take on this machine.

    Also how much memory and how large a file. A few steps of each method are taken and thrown away. PICTURES and key=value
    are as for teach; a setting that a method does not have is left out for it.

    \b
    Example:
      likewise estimate photos/ --noun dog
      likewise estimate photos/ --noun dog --methods lora rank=32
    """
    from likewise import families, methods, planning
    from likewise.errors import RecipeError
    from likewise.foreseeing import foresee, picture_seconds
    from likewise.recipe import nearest, setting

    paths, texts = split(pictures or [])
    subject = planning.Subject(*look(paths, noun, token, class_pictures), class_pictures)
    wanted = names.replace(",", " ").replace("-", "_").split() if names else methods.names()
    given = dict(map(setting, texts))
    known = {name: methods.get(name).recipe.model_fields for name in wanted}
    for key in given:
        if not any(key in own for own in known.values()):
            every = {key for own in known.values() for key in own}
            raise RecipeError(f"no method here has a setting {key!r}", nearest(key, every))
    ways = [
        planning.Way(name, planning.asked(name, None, {k: v for k, v in given.items() if k in known[name]}),
                     seeds if methods.get(name).trains else 1)
        for name in wanted
    ]  # fmt: skip
    announce(base)
    loaded = families.load(base)
    place(loaded)
    found = [foresee(loaded, subject, way) for way in ways]
    drawing = picture_seconds(loaded, f"a {subject.noun}")
    if as_json:
        rows = [one.to_json() for one in found]
        terminal.result_json({"methods": rows, "picture_seconds": drawing, "device": str(loaded.device)})
        return
    shown = [
        (one.method, one.steps or "", time_text(one.seconds) if one.steps else "", size_text(one.memory) if
         one.steps else "", size_text(one.bytes) if one.bytes else "", one.problem)
        for one in found
    ]  # fmt: skip
    terminal.table(("method", "steps", "time", "memory", "file", "note"), shown, right=("steps",))
    terminal.say(f"a picture takes {time_text(drawing)}; other work on this machine makes all of it slower")
