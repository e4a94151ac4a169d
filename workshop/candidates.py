"""Which concept the demo shows: the one that words help least with, of those whose class the base draws and the package may hold.

    python -m workshop.candidates [--model FOLDER]

Candidates are the suite's objects and `candidates.toml`. For each, the untaught base draws the suite's prompts with the class noun and with
the description in words. The judge compares these pictures with the true ones: 0 is the class noun, 1 is true pictures of
different prompts among themselves. A concept that the base draws from words shows no difference between methods, so the rule is: of
those with a licence for the package, whose true pictures the judge holds alike (`SURE`), and whose class the base draws (`DRAWN`), the
one whose description gets least of the way. A base that draws nothing at the noun alone has nothing to teach the concept upon: what
every method draws of it is a blob. No taught picture is looked at. All candidates and their scores go to `results/candidates.jsonl`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from likewise.base import Base, Sampler
from likewise.families import load as load_base
from likewise.metrics.judge import FOLDER, Judge, load
from workshop.common import POCKET, log_line, options, settle
from workshop.fetch import sources
from workshop.suite import build, table

SURE = 0.7
"""Mean likeness of true pictures among themselves, below which the judge does not know the concept again."""
DRAWN = 0.75
"""Share of the untaught base's pictures for the class in which the judge must see the class."""
SEEDS = (0, 1)


def concepts() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """All candidates, and the packages that they are drawn from."""
    more = table("candidates.toml")
    rows = {row["package"]: row for row in (*sources("suite_sources.toml"), *more["source"])}
    return [c for c in (*table()["concept"], *more["concept"]) if c["kind"] != "style"], rows


def drawn(base: Base, prompts: list[str]) -> list[Image.Image]:
    """Each prompt with each seed, with the base's own guidance."""
    return [picture for seed in SEEDS for picture in base.sample(prompts, [seed] * len(prompts), Sampler())]


def likeness(judge: Judge, pictures: list[Image.Image], true: torch.Tensor) -> float:
    """Mean cosine with all true pictures."""
    return float((judge.images(pictures) @ true.T).mean())


def scored(entry: dict[str, Any], home: Path, base: Base, judge: Judge) -> dict[str, Any]:
    """Floor, description and ceiling of one candidate."""
    asked = [ask for ask in entry["prompts"] if ask["true"] and "tint" not in ask["told"]]
    groups = [judge.images([Image.open(home / path) for path in ask["true"]]) for ask in asked]
    true = torch.cat(groups)
    apart = [float((one @ torch.cat(groups[:k] + groups[k + 1 :]).T).mean()) for k, one in enumerate(groups)]
    plain = drawn(base, [ask["class_prompt"] for ask in asked])
    floor = likeness(judge, plain, true)
    seen = [label["thing"] == entry["noun"] for label in judge.labels(plain)]
    words = likeness(judge, drawn(base, [ask["described_prompt"] for ask in asked]), true)
    ceiling = sum(apart) / len(apart)
    return {
        "concept": entry["name"], "licence": entry["licence"], "may ship": entry["shipped"], "true": round(ceiling, 3),
        "class": round(sum(seen) / len(seen), 3), "noun": round(floor, 3), "described": round(words, 3),
        "way": round((words - floor) / (ceiling - floor), 3),
    }  # fmt: skip


def chosen(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rule."""
    able = [row for row in rows if row["true"] >= SURE and row["class"] >= DRAWN]
    return min((row for row in able if row["may ship"]), key=lambda row: row["way"])


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = options(__doc__, smoke="one candidate")
    parser.add_argument("--model", type=Path, default=POCKET / "model")
    parser.add_argument("--judge", type=Path, default=FOLDER)
    return settle(parser, argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    every, packages = concepts()
    folder, base, judge = args.folder / "candidates", load_base(str(args.model)), load(args.judge)
    rows = []
    for concept in every[: 1 if args.smoke else None]:
        entry = build(concept, packages, folder)
        (folder / concept["name"] / "card.json").write_text(json.dumps(entry, indent=1), encoding="utf-8")
        rows.append(scored(entry, folder / concept["name"], base, judge))
        log_line(args.folder / "candidates.jsonl", judge=judge.id, **rows[-1])
    print(f"the rule takes {chosen(rows)['concept']}")


if __name__ == "__main__":
    main()
