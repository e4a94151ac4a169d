"""Which settings pocket should advise: every method's space, tried with equal effort on concepts that nothing is scored on.

    python -m workshop.advise [--model FOLDER] [--methods A,B,...] [--concepts A,B,...]

The concepts are the bundled cat and what `candidates.toml` renders, which neither the suite nor the demo holds. Each is a comparison
on development prompts and on the fold of pictures that no verdict uses, with the settings that `compare --tune` would try: eight of each
method, what is advised today among them, taught in full. A setting's score is its mean over the concepts, as the comparison scales it:
0 is the untaught base, 1 true pictures. It is advised where it is better than today's by more than a standard error of their
difference over the concepts' prompts, and where no gate (copies, layouts that repeat) keeps it out on more concepts than today's.
Trainings are kept, so a second start goes on.
Results go to `results/advice.jsonl`; what is advised stands in `workshop/likewise.toml`,
which a person edits and `export` copies into the model.
"""

from __future__ import annotations

import argparse
import json
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from likewise import methods
from likewise.comparison import tuning
from likewise.comparison.case import PRIMARY
from likewise.comparison.comparison import Comparison
from likewise.comparison.concluded import read_verdict
from likewise.comparison.concluding import Array, frame
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


def stage(source: Path, noun: str, base: Any, names: list[str], out: Path, *, short: bool) -> Comparison:
    """A comparison of every setting of every method, on what no verdict uses."""
    whole = prepare(source, noun=noun, base=base, out=out, methods=names, tune=True)
    assert whole.search is not None
    floor = [one for one in whole.conditions if one.kind == "floor"]
    plain = [one for one in whole.conditions if one.taught]
    tried = [_tried(one, try_, short) for one in plain for try_ in tuning.tries(one)]
    return whole.staged("settings", [*floor, *tried], whole.search)


def _tried(plain: Condition, one: tuning.Try, short: bool) -> Condition:
    assert plain.recipe is not None
    recipe = plain.recipe.override(one.settings)
    if short:
        recipe = recipe.override(tuning.shortened(recipe, SHORT))
    title = f"{plain.title}, try {one.name.rpartition('-')[2]}"
    return replace(plain, name=one.name, title=title, recipe=recipe, given=dict(one.settings))


def measured(folder: Path) -> dict[str, Array]:
    """Overall score of each prompt, [prompts], by the name of the try; all have the same prompts."""
    found = frame(folder)
    names = [name for name in found.complete if name != found.floor]
    prompts = found.prompts(PRIMARY, names)
    arrays = {name: found.array(PRIMARY, name, prompts) for name in names}
    return {name: array.mean(0) for name, array in arrays.items() if array is not None}


def refused(folder: Path) -> set[str]:
    """The tries that a gate keeps from being recommended: they copy, say, or repeat their layouts."""
    return {one.name for one in read_verdict(folder)[0] if any(g.fired and g.excludes for g in one.gates)}


def advised(
    tries: list[tuning.Try],
    found: Mapping[str, Mapping[str, Array]],
    kept_out: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The table of one method, and the setting that its rule takes; `found` is by concept, then by try.

    All tries are asked the same prompts with the same noise, so the error is that of their differences, prompt by prompt. A
    try that a gate keeps out on more concepts than today's settings (`kept_out`, by concept) is not taken.
    """
    out = [sum(one.name in some for some in kept_out.values()) for one in tries]
    values = np.array(
        [
            [float(some[one.name].mean()) if one.name in some else np.nan for some in found.values()]
            for one in tries
        ]
    )
    means = np.where(np.isnan(values).any(1), -np.inf, values.mean(1))
    first = int(np.where(np.array(out) <= out[0], means, -np.inf).argmax())
    apart = [some[tries[first].name] - some[tries[0].name] for some in found.values()]
    error = math.sqrt(sum(one.var(ddof=1) / len(one) for one in apart)) / len(apart)
    better = bool(means[first] - means[0] > error)
    rows = [
        {
            "settings": dict(one.settings),
            "mean": _rounded(mean),
            "concepts": [_rounded(v) for v in row],
            "kept out on": count,
        }
        for one, mean, row, count in zip(tries, means, values, out, strict=True)
    ]
    taken = dict(tries[first].settings) if better else {}
    return {
        "take": taken,
        "gain": round(float(means[first] - means[0]), 3),
        "error": round(error, 3),
        "tries": rows,
    }


def _rounded(value: float) -> float | None:
    """None for a try without a result, as JSON has no word for it."""
    return round(float(value), 3) if math.isfinite(value) else None


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = options(__doc__, smoke="one concept, a quarter of the steps")
    parser.add_argument("--model", type=Path, default=POCKET / "model")
    parser.add_argument("--methods", default="textual_inversion,lora,hypernetwork,dreambooth,aesthetic")
    parser.add_argument("--concepts", help="else all")
    return settle(parser, argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    base, names = load_base(str(args.model)), args.methods.split(",")
    wanted = args.concepts.split(",") if args.concepts else None
    found: dict[str, dict[str, Array]] = {}
    kept_out: dict[str, set[str]] = {}
    asked: dict[str, list[tuning.Try]] = {}
    for concept, (source, noun) in list(sources(args.folder, wanted).items())[: 1 if args.smoke else None]:
        for name in names:  # apart, so that a further method teaches no other again
            out = args.folder / "advice" / concept / name
            one = stage(source, noun, base, [name], out, short=args.smoke)
            for _ in one.start():
                pass
            base = one.loaded or base
            scores = measured(one.folder)
            found.setdefault(concept, {}).update(scores)
            kept_out.setdefault(concept, set()).update(refused(one.folder))
            plain = prepare(source, noun=noun, base=base, out=out, methods=[name]).conditions
            asked[name] = tuning.tries(next(c for c in plain if c.taught))
            print(concept, name, json.dumps({key: _rounded(v.mean()) for key, v in scores.items()}))
    for name in names:
        row = advised(asked[name], found, kept_out)
        title = methods.get(name).title
        print(title, json.dumps(row))
        log_line(args.folder / "advice.jsonl", method=name, among=list(found), **row)


if __name__ == "__main__":
    main()
