"""Every step in order, by one command: ``python -m workshop.all``.

May be killed and started again with the same arguments: finished steps are skipped, and the others go on from
their checkpoints. ``--minutes`` is for all steps together; each training gets a share, and the rest is left for the
steps that cannot be shortened.
"""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path

from workshop.common import agree, check_workers, log_line, options, settle

STEPS = (
    "fetch", "rasterise", "compose", "tokenizer", "train_vae", "train_clip", "steady", "pool",
    "train_backbone", "train_judge", "individuals", "train_mask", "train_identity", "export", "concept", "measure",
)  # fmt: skip
SHARES = {"train_vae": 0.16, "train_clip": 0.12, "train_backbone": 0.48, "train_judge": 0.10}
FASTER = (
    "compose",
    "train_vae",
    "train_clip",
    "steady",
    "pool",
    "train_backbone",
    "train_judge",
    "export",
    "measure",
)


def finished(path: Path, plan: dict[str, object]) -> set[str]:
    """The steps that an earlier call with the same arguments has done."""
    rows = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )
    if rows:
        agree(rows[0], plan, path)
    else:
        log_line(path, **plan)
    return {row["step"] for row in rows[1:]}


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--minutes", type=float, help="for everything; default: the number of steps each step has"
    )
    parser.add_argument(
        "--hold-out", action="store_true", help="leave combinations out of the backbone's pictures"
    )
    parser.add_argument("--workers", type=int, default=1, help="of the backbone, on the CPU")
    args = settle(parser, argv)
    check_workers(parser, args)
    fast = args.device.type != "cpu"
    plan = {
        "world": args.world.name,
        "device": args.device.type,
        "minutes": args.minutes,
        "held": args.hold_out,
    }
    done = finished(args.folder / "all.jsonl", plan)
    for step in STEPS:
        if step in done or (step == "pool" and fast):
            continue
        words = ["--world", args.world.name] + ["--smoke"] * args.smoke
        words += ["--threads", str(args.threads)]
        words += ["--device", str(args.device)] if step in FASTER else []
        if step in SHARES and args.minutes:
            words += ["--minutes", f"{args.minutes * SHARES[step]:.4g}"]
        if step == "train_backbone":
            words += ["--fresh"] if fast else ["--workers", str(args.workers)]
        if args.hold_out and step == ("train_backbone" if fast else "pool"):
            words.append("--hold-out")
        if args.hold_out and step == "measure":
            words += ["--unseen", "combinations"]
        began = time.time()
        importlib.import_module(f"workshop.{step}").main(words)
        log_line(args.folder / "all.jsonl", step=step, seconds=round(time.time() - began, 1))


if __name__ == "__main__":
    main()
