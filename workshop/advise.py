"""Which settings pocket should advise: every method's space, tried with equal effort on concepts that nothing is scored on.

    python -m workshop.advise [--model FOLDER] [--methods A,B,...] [--concepts A,B,...] [--tries JSON]

The concepts are the bundled cat and what `candidates.toml` renders, which neither the suite nor the demo holds. Each is a comparison
on development prompts and on the fold of pictures that no verdict uses, with the settings that `compare --tune` would try: eight of each
method, what is advised today among them, taught in full. A setting's score is its mean over the concepts, as the comparison scales it:
0 is the untaught base, 1 true pictures. What `compare --tune` would choose is advised: what is better than today's by more than a
standard error of their difference over the concepts' prompts, where no gate keeps it out on more concepts than today's.
`--tries '[{"prior": "pictures"}]'` tries these settings beside today's instead, for a closer look around the best.
Trainings are kept, so a second start goes on.
Results go to `results/advice.jsonl`; what is advised stands in `workshop/likewise.toml`,
which a person edits and `export` copies into the model.
"""

from __future__ import annotations

import argparse
import json
import math
import tomllib
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from likewise import methods
from likewise.comparison import tuning
from likewise.comparison.comparison import Comparison
from likewise.comparison.design import Condition
from likewise.comparison.preparing import prepare
from likewise.families import load as load_base
from workshop.candidates import concepts
from workshop.common import POCKET, log_line, options, settle
from workshop.suite import build

CAT = POCKET / "concepts" / "cat"
SHORT = 4
"""By what `--smoke` divides the steps."""


def sources(folder: Path, wanted: list[str] | None) -> dict[str, tuple[Path, str]]:
    """Each concept's pictures and noun, drawn where they are not there yet."""
    book = tomllib.loads((CAT / "concept.toml").read_text(encoding="utf-8"))
    found = {"cat": (CAT, book["noun"])}
    every, packages = concepts()
    for concept in every:
        ours = concept["package"] == "bodies" and not concept.get("demo")
        if ours and (not wanted or concept["name"] in wanted):
            home = folder / "candidates" / concept["name"]
            if not (home / "references").is_dir():
                build(concept, packages, folder / "candidates")
            found[concept["name"]] = (home / "references", concept["noun"])
    if unknown := set(wanted or ()) - found.keys():
        raise SystemExit(
            f"no development concept is called {', '.join(sorted(unknown))}: there are {', '.join(sorted(found))}"
        )
    return {name: one for name, one in found.items() if not wanted or name in wanted}


Tries = Callable[[Condition], list[tuning.Try]]
"""What is tried of a method."""


def given(settings: Sequence[Mapping[str, Any]]) -> Tries:
    """Today's settings and these."""
    every = [{}, *settings]
    return lambda plain: [tuning.Try(f"{plain.name}-{number}", one) for number, one in enumerate(every)]


def stage(
    source: Path, noun: str, base: Any, names: list[str], out: Path, tries: Tries, *, short: bool
) -> Comparison:
    """A comparison of every setting of every method, on what no verdict uses."""
    whole = prepare(source, noun=noun, base=base, out=out, methods=names, tune=True)
    assert whole.search is not None
    floor = [one for one in whole.conditions if one.kind == "floor"]
    plain = [one for one in whole.conditions if one.taught]
    share = SHORT if short else 1
    tried = [tuning.condition(one, try_, share) for one in plain for try_ in tries(one)]
    return whole.staged("settings", [*floor, *tried], whole.search)


def advised(tries: list[tuning.Try], found: Mapping[str, tuning.Scored]) -> dict[str, Any]:
    """The table of one method, and the setting that its rule takes; `found` is by concept."""
    choice = tuning.choose(tries, list(found.values()))
    rows = [
        {
            "settings": dict(one.settings),
            "mean": _rounded(mean),
            "concepts": [_rounded(some.mean(one.name)) for some in found.values()],
            "kept out on": count,
        }
        for one, mean, count in zip(tries, choice.means, choice.kept_out, strict=True)
    ]
    return {
        "take": dict(choice.best.settings) if choice.better else {},
        "best": dict(choice.best.settings),
        "gain": _rounded(choice.gain),
        "error": _rounded(choice.error),
        "tries": rows,
    }


def _rounded(value: float | None) -> float | None:
    """None for a try without a result, as JSON has no word for it."""
    return round(value, 3) if value is not None and math.isfinite(value) else None


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = options(__doc__, smoke="one concept, a quarter of the steps")
    parser.add_argument("--model", type=Path, default=POCKET / "model")
    parser.add_argument("--methods", default="textual_inversion,lora,hypernetwork,dreambooth,aesthetic")
    parser.add_argument("--concepts", help="else all")
    parser.add_argument(
        "--tries", type=json.loads, help="settings to try beside today's, a JSON list of tables"
    )
    return settle(parser, argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    base, names = load_base(str(args.model)), args.methods.split(",")
    tries = tuning.tries if args.tries is None else given(args.tries)
    place = "advice" if args.tries is None else f"advice-{zlib.crc32(json.dumps(args.tries).encode()):08x}"
    wanted = args.concepts.split(",") if args.concepts else None
    found: dict[str, dict[str, tuning.Scored]] = {name: {} for name in names}
    asked: dict[str, list[tuning.Try]] = {}
    for concept, (source, noun) in list(sources(args.folder, wanted).items())[: 1 if args.smoke else None]:
        for name in names:  # apart, so that a further method teaches no other again
            out = args.folder / place / concept / name
            one = stage(source, noun, base, [name], out, tries, short=args.smoke)
            for _ in one.start():
                pass
            base = one.loaded or base
            scores = tuning.scored(one.folder)
            found[name][concept] = scores
            plain = prepare(source, noun=noun, base=base, out=out, methods=[name]).conditions
            asked[name] = tries(next(c for c in plain if c.taught))
            print(concept, name, json.dumps({key: _rounded(scores.mean(key)) for key in scores.prompts}))
    for name in names:
        row = advised(asked[name], found[name])
        title = methods.get(name).title
        print(title, json.dumps(row))
        today = dict(base.advice.get(name, {}))
        log_line(args.folder / "advice.jsonl", method=name, among=list(found[name]), today=today, **row)


if __name__ == "__main__":
    main()
