"""The client, over real HTTP on this machine: every fault ends as it should, and the key stays where it belongs."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from likewise.errors import SurveyError
from likewise.survey import civitai
from likewise.survey.civitai import MOST_FAILURES, TRIES, Client, Unavailable, asked
from rehearsal.catalogue import Catalogue, generate
from rehearsal.server import FAULTS, Rehearsal

KEY = "kept-to-itself-4711"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return generate(300)


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in civitai.TOKENS:
        monkeypatch.delenv(name, raising=False)


def get(site: Rehearsal, **options: Any) -> civitai.Page:
    with Client(site.url, **{"budget": 50, "pause": 0.0} | options) as client:
        return client.models(asked(limit=5, sort="Oldest"))


def always(fault: str) -> Any:
    return lambda number: fault


# ------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize("fault", ["429", "503", "500-html", "cut-json", "html", "hang-up", "slow"])
def test_what_may_pass_is_tried_again(catalogue: Catalogue, fault: str) -> None:
    with Rehearsal(catalogue, script={1: fault}.get) as site:
        page = get(site, timeout=0.5)
    assert len(page.models) == 5
    assert len(site.requests) == 2
    if fault in ("429", "503"):  # the site asked for a second
        assert site.requests[1].at - site.requests[0].at >= 1.0


@pytest.mark.parametrize(
    ("fault", "said"),
    [("429-pages", "by number"), ("401", "wants a key: Unauthorized"), ("451", "this country")],
)
def test_what_stays_is_said_at_once(catalogue: Catalogue, fault: str, said: str) -> None:
    with Rehearsal(catalogue, script=always(fault)) as site, pytest.raises(SurveyError, match=said) as caught:
        get(site)
    assert len(site.requests) == 1
    assert caught.value.hint
    assert not isinstance(caught.value, Unavailable)


def test_a_cursor_that_cannot_be_read_is_an_answer(catalogue: Catalogue) -> None:
    with (
        Rehearsal(catalogue, script=always("400-cursor")) as site,
        Client(site.url, budget=9, pause=0.0) as client,
    ):
        assert client.models(asked(limit=5, cursor="1|2")).status == 400
    assert len(site.requests) == 1


def test_a_refused_cursor_where_none_was_sent_may_pass(catalogue: Catalogue) -> None:
    with Rehearsal(catalogue, script={1: "400-cursor"}.get) as site:
        assert len(get(site).models) == 5
    with (
        Rehearsal(catalogue, script=always("400-cursor")) as site,
        pytest.raises(Unavailable, match=r"400 \(Invalid cursor\) where no cursor was sent") as caught,
    ):
        get(site)
    assert caught.value.reason == "answered 400 (Invalid cursor) where no cursor was sent"


def test_a_page_stands_at_the_date_of_the_site_and_not_of_this_machine(catalogue: Catalogue) -> None:
    for date in (datetime(2024, 2, 29, 12, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)):
        with Rehearsal(replace(catalogue, date=date)) as site:
            assert get(site).at == date.replace(tzinfo=None)


@pytest.mark.parametrize(
    "text", ["Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "", "Thu, 99 Foo 2026 99:99:99 GMT"]
)
def test_a_date_that_cannot_be_is_none(text: str) -> None:
    assert civitai._moment(text) is None


def test_what_a_site_says_cannot_move_the_terminal() -> None:
    assert civitai._said({"error": "no\x1b[2J\u202ename\n\x07"}) == "no\N{REPLACEMENT CHARACTER}[2J" + (
        "\N{REPLACEMENT CHARACTER}name \N{REPLACEMENT CHARACTER}"
    )


def test_bytes_that_are_no_utf8_spoil_one_name_and_not_the_page() -> None:
    page = civitai._json(
        b'\xef\xbb\xbf{"items": [{"id": 1, "name": "caf\xe9"}, {"id": 2, "name": "caf\xc3\xa9"}]}'
    )
    assert [item["name"] for item in page["items"]] == ["caf\N{REPLACEMENT CHARACTER}", "caf\u00e9"]
    assert civitai._json(b'{"items": [{"id": 1, "name": "caf\xc3') is None


def test_every_fault_of_the_server_is_tested() -> None:
    here = {"429", "503", "500-html", "cut-json", "html", "hang-up", "slow", "429-pages", "401", "451"}
    elsewhere = {"400-cursor", "redirect", "loop", "treadmill", "hollow", "deploy"}
    assert here | elsewhere == FAULTS.keys()


def test_six_tries_then_one_each_until_the_circuit_opens(catalogue: Catalogue) -> None:
    with (
        Rehearsal(catalogue, script=always("500-html")) as site,
        Client(site.url, budget=50, pause=0.0) as client,
    ):
        for failed in range(1, MOST_FAILURES):
            with pytest.raises(Unavailable, match="answered 500"):
                client.models(asked(limit=5))
            assert len(site.requests) == TRIES + failed - 1
        with pytest.raises(SurveyError, match="5 requests in a row") as caught:
            client.models(asked(limit=5))
    assert not isinstance(caught.value, Unavailable)


def test_success_closes_the_circuit(catalogue: Catalogue) -> None:
    script = {number: "500-html" for number in (*range(1, 7), *range(8, 13))}
    with Rehearsal(catalogue, script=script.get) as site, Client(site.url, budget=50, pause=0.0) as client:
        with pytest.raises(Unavailable):
            client.models(asked(limit=5))
        client.models(asked(limit=5))
        client.models(asked(limit=5))
    assert len(site.requests) == 6 + 1 + 6


def test_nobody_at_the_door_is_unavailable(catalogue: Catalogue) -> None:
    with Rehearsal(catalogue) as site:
        pass
    with pytest.raises(Unavailable, match=f"ConnectError.*after {TRIES} tries"):
        get(site)


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address_is_said(url: str) -> None:
    with Client(url, budget=3, pause=0.0) as client, pytest.raises(SurveyError, match="is not an address"):
        client.models(asked(limit=5))


def test_a_wait_that_is_too_long_ends_it(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rehearsal.server.RETRY_AFTER", "7200")
    with (
        Rehearsal(catalogue, script=always("503")) as site,
        pytest.raises(SurveyError, match="wait 120 minutes"),
    ):
        get(site)
    assert len(site.requests) == 1


def test_a_date_to_retry_after_is_understood(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rehearsal.server.RETRY_AFTER", "Wed, 21 Oct 2015 07:28:00 GMT")
    with Rehearsal(catalogue, script={1: "503"}.get) as site:
        assert get(site).models


# -------------------------------------------------------------------------------------------- politeness


def test_requests_are_a_pause_apart(catalogue: Catalogue) -> None:
    with Rehearsal(catalogue) as site, Client(site.url, budget=5, pause=0.2) as client:
        for _ in range(3):
            client.models(asked(limit=5))
    moments = [request.at for request in site.requests]
    assert all(later - earlier >= 0.19 for earlier, later in itertools.pairwise(moments))


def test_no_more_requests_than_the_budget_tries_included(catalogue: Catalogue) -> None:
    with (
        Rehearsal(catalogue, script=always("500-html")) as site,
        pytest.raises(SurveyError, match="limit of 4"),
    ):
        get(site, budget=4)
    assert len(site.requests) == 4


def test_it_says_who_it_is(catalogue: Catalogue) -> None:
    with Rehearsal(catalogue) as site:
        get(site, contact="me@example.org")
    headers = site.requests[0].headers
    assert headers["User-Agent"].startswith("likewise/")
    assert "me@example.org" in headers["User-Agent"]
    assert "Authorization" not in headers


def test_false_is_left_out_and_cursors_are_escaped(catalogue: Catalogue) -> None:
    assert asked(archived=False, nsfw=True, cursor=None, ids=[3, 4]) == (("nsfw", "true"), ("ids", "3,4"))
    with (
        Rehearsal(catalogue) as site,
        Client(site.url, budget=5, pause=0.0) as client,
    ):
        page = client.models(asked(limit=5, sort="Oldest"))
        assert "|" in (page.cursor or "")
        assert client.models(asked(limit=5, sort="Oldest", cursor=page.cursor)).status == 200
    assert dict(site.requests[1].pairs)["cursor"] == page.cursor


# --------------------------------------------------------------------------------------------------- key


@pytest.fixture(params=civitai.TOKENS)
def key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(request.param, KEY)
    return KEY


def test_the_key_goes_into_the_header_and_nowhere_else(
    catalogue: Catalogue, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        Rehearsal(catalogue, script={1: "500-html", 2: "401"}.get) as site,
        pytest.raises(SurveyError) as caught,
    ):
        get(site)
    assert site.requests[0].headers["Authorization"] == f"Bearer {key}"
    assert key not in caplog.text + str(caught.value) + repr(site.requests[0].pairs)
    assert "trying again" in caplog.text


def test_the_key_does_not_follow_to_another_host(catalogue: Catalogue, key: str) -> None:
    with Rehearsal(catalogue, script={1: "redirect"}.get) as site:
        assert len(get(site).models) == 5
    here, there = site.requests
    assert (here.host, there.host) == ("127.0.0.1", "localhost")
    assert "Authorization" in here.headers
    assert "Authorization" not in there.headers


def test_the_key_is_not_sent_where_all_can_read_it(key: str) -> None:
    with Client("http://example.org", budget=1) as client:
        assert "authorization" not in client._http.headers
    with Client("https://example.org", budget=1) as client:
        assert client._http.headers["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize("value", ["two words", "lin\ne", "schlüssel"])
def test_a_key_that_cannot_be_one_is_refused_unseen(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", value)
    with pytest.raises(SurveyError, match="CIVITAI_TOKEN holds letters") as caught:
        Client(budget=1)
    assert value not in str(caught.value)
