"""The command that lists and copies example concepts: pictures to teach, and what prompts should then show.

They are the freely licensed part of the pocket model's benchmark suite, and what the demo teaches. Nothing here makes or
judges pictures.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import Json, app
from likewise.errors import ConceptError
from likewise.files import write_text, write_with

FOLDER = Path(__file__).parents[1] / "pocket" / "suite"


@app.command("examples")
def list_examples(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", hidden=True)] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Copy it into this new folder.")] = None,
    as_json: Json = False,
) -> None:
    """List example concepts, show one, or copy its pictures.

    Each has pictures to teach, and prompts with the true pictures of what they ask for.

    \b
    Example:
      likewise examples
      likewise examples pink-house --out house
      likewise teach house/references --noun house
    """
    if name is None:
        if out is not None:
            raise ConceptError("--out copies one example, and none is named", "likewise examples lists them")
        _list(as_json)
        return
    example = find(name)
    if out is not None:
        _copy(example, out)
    if as_json:
        terminal.result_json({**_facts(example), "folder": str(out) if out else None})
    elif out is None:
        _show(example)
    else:
        terminal.result(terminal.short(out.absolute()))
        terminal.say(f"next: likewise teach {terminal.quoted(out / 'references')} --noun {example['noun']}")


def _card() -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))[
            "concepts"
        ]
    except (OSError, ValueError, KeyError) as error:
        raise ConceptError(
            f"the examples in {FOLDER} cannot be read: {error}", "install likewise again"
        ) from None
    return found


def find(name: str) -> dict[str, Any]:
    import difflib

    examples = {example["name"]: example for example in _card()}
    if name in examples:
        return examples[name]
    close = difflib.get_close_matches(name, examples, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(examples)}"
    raise ConceptError(f"there is no example {name!r}", hint)


def _facts(example: dict[str, Any]) -> dict[str, Any]:
    """The card without the sums of its pictures."""
    return {key: value for key, value in example.items() if key not in ("pixels", "shipped")}


def _list(as_json: bool) -> None:
    examples = _card()
    if as_json:
        terminal.result_json([_facts(example) for example in examples])
        return
    rows = [
        (
            e["name"],
            e["kind"],
            e["noun"],
            e["description"],
            len(_pictures(e)),
            len(e["prompts"]),
            e["licence"],
        )
        for e in examples
    ]
    titles = ("example", "kind", "noun", "what it is", "pictures", "prompts", "licence")
    terminal.table(titles, rows, right=("pictures", "prompts"))


def _pictures(example: dict[str, Any]) -> list[str]:
    return [path for path in example["pixels"] if path.startswith("references/")]


def _show(example: dict[str, Any]) -> None:
    terminal.result(
        f"{example['name']}: {example['description']} ({example['kind']}, noun {example['noun']})\n"
    )
    for ask in example["prompts"]:
        true = len(ask["true"])
        terminal.result(f"  {ask['prompt']}  ({true} true pictures)" if true else f"  {ask['prompt']}")
    terminal.result("")
    terminal.paragraph(f"{example['credit']}; {example['licence']}; {example['url']}; {example['changes']}.")


def _copy(example: dict[str, Any], out: Path) -> None:
    """References, true pictures and the card, all of them or nothing."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConceptError(f"{out} exists and is not an empty folder", "name a new one with --out")

    def fill(folder: Path) -> None:
        shutil.copytree(FOLDER / example["name"], folder)
        card = json.dumps(_facts(example), indent=2, ensure_ascii=False) + "\n"
        write_text(folder / "card.json", card)

    write_with(out, fill)
