"""`python -m rehearsal`: the invented site, served on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from likewise.errors import SurveyError
from rehearsal.catalogue import DATE, START, generate
from rehearsal.server import FAULTS, Rehearsal
from rehearsal.site import QUIRKS

_LATEST = datetime(9999, 1, 1, tzinfo=UTC) - timedelta(days=1)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What was typed; ends the process where it cannot be meant."""
    parser = argparse.ArgumentParser("python -m rehearsal", description=__doc__)
    parser.add_argument("--models", metavar="N", type=_count, default=20_000, help="how many are invented")
    parser.add_argument(
        "--quirk", metavar="NAME", action="append", default=[], choices=[*QUIRKS, *FAULTS, "all", "list"],
        help="a quirk, which is always there, or a fault, which strikes every tenth request; all has every quirk; "
        "list says what each does",
    )  # fmt: skip
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="another seed, another catalogue")
    parser.add_argument("--port", metavar="P", type=int, default=0, help="else one that is free")
    parser.add_argument("--date", metavar="DATE", type=_day, default=DATE, help="the day all counts stand at")
    return parser.parse_args(words)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return int(text)


def _day(text: str) -> datetime:
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no day such as 2026-10-01") from None
    if not START < day < _LATEST:
        raise argparse.ArgumentTypeError(f"name a day after {START:%Y-%m-%d}")
    return day


def main(words: Sequence[str] | None = None) -> int:
    """Serve; the address is all that goes to standard output. Returns the exit code."""
    given = arguments(words)
    if "list" in given.quirk:
        for name, what in {**QUIRKS, **FAULTS}.items():
            print(f"{name:24} {what}")
        return 0
    faults = [name for name in given.quirk if name in FAULTS]
    quirks = list(QUIRKS) if "all" in given.quirk else [name for name in given.quirk if name in QUIRKS]

    def script(number: int) -> str | None:
        return faults[number // 10 % len(faults)] if faults and number % 10 == 0 else None

    catalogue = generate(given.models, given.seed, date=given.date)
    try:
        with Rehearsal(catalogue, quirks=quirks, script=script, port=given.port) as site:
            told = f"{given.models:,} invented models as of {given.date:%Y-%m-%d}"
            print(f"{told}; in another terminal: likewise survey fetch --url {site.url} ...", file=sys.stderr)
            print(site.url, flush=True)
            site.wait()
    except SurveyError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
