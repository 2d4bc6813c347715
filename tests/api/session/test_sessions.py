"""Sessions: what a client may do, and what it must not be able to do."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Any

import falcon
import falcon.asgi
import httpx
import pytest

import hybrid
from hybrid.api.session.session import Session, SessionKeeper
from hybrid.errors import ConfigError, SessionConflict, StateUnavailable, ValueTooLarge
from hybrid.shared_state.state import State
from tests.shared_state.conftest import until

SECRET = "0123456789abcdef"


class Cart:
    async def on_get(self, req: Any, resp: Any) -> None:
        session = req.context.session
        resp.media = dict(session)

    async def on_post(self, req: Any, resp: Any) -> None:
        session: Session = req.context.session
        what = req.get_param("do")
        if what == "login":
            session["user"] = req.get_param("user")
            session.rotate()
        elif what == "logout":
            session.end()
        elif what == "fail":
            session["user"] = "nobody"
            raise falcon.HTTPBadRequest
        else:
            session.setdefault("items", []).append(what)
        resp.media = dict(session)


def falcon_app(keeper: SessionKeeper) -> Any:
    app = falcon.asgi.App(middleware=[hybrid.FalconSessions(keeper)])
    hybrid.install(app)
    app.add_route("/", Cart())
    return app


def asgi_app(keeper: SessionKeeper) -> Any:
    inner = falcon.asgi.App()
    hybrid.install(inner)

    class FromScope:
        async def process_request(self, req: Any, resp: Any) -> None:
            req.context.session = req.scope["session"]

    inner.add_middleware(FromScope())
    inner.add_route("/", Cart())
    return hybrid.Sessions(inner, keeper)


@pytest.fixture(params=[falcon_app, asgi_app], ids=["falcon", "asgi"])
def make(request: pytest.FixtureRequest) -> Any:
    return request.param


def browser(app: Any, scheme: str = "http") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"{scheme}://test")


def stored(**more: Any) -> hybrid.StoredSessions:
    return hybrid.StoredSessions(namespace=f"session-{id(more)}", **more)


def both(test: Any) -> Any:
    keepers = [stored, lambda: hybrid.SignedSessions(SECRET)]
    return pytest.mark.parametrize("keep", keepers, ids=["stored", "signed"])(test)


@both
def test_what_a_request_writes_the_next_one_reads(make: Any, keep: Any) -> None:
    async def body() -> None:
        async with browser(make(keep())) as client:
            first = await client.get("/")
            assert first.json() == {}
            assert "set-cookie" not in first.headers
            await client.post("/?do=apple")
            await client.post("/?do=pear")
            assert (await client.get("/")).json() == {"items": ["apple", "pear"]}
            assert "set-cookie" not in (await client.get("/")).headers
            await client.post("/?do=logout")
            assert (await client.get("/")).json() == {}
            assert not client.cookies

    asyncio.run(body())


@both
def test_a_cookie_is_out_of_reach_of_scripts_and_other_sites(make: Any, keep: Any) -> None:
    async def body() -> None:
        app = make(keep())
        for scheme, secure in (("http", False), ("https", True)):
            async with browser(app, scheme) as client:
                line = (await client.post("/?do=apple")).headers["set-cookie"]
                assert "HttpOnly" in line
                assert "SameSite=Lax" in line
                assert "Path=/" in line
                assert re.search(r"Max-Age=[1-9]", line)
                assert ("Secure" in line) == secure

    asyncio.run(body())


def test_a_login_gets_a_new_id_and_the_old_one_is_worth_nothing(make: Any) -> None:
    async def body() -> None:
        app = make(stored())
        async with browser(app) as client, browser(app) as thief:
            await client.post("/?do=apple")
            planted = client.cookies["session"]
            await client.post("/?do=login&user=ann")
            assert client.cookies["session"] != planted
            assert (await client.get("/")).json() == {"items": ["apple"], "user": "ann"}
            thief.cookies.set("session", planted)
            assert (await thief.get("/")).json() == {}

    asyncio.run(body())


@pytest.mark.parametrize("cookie", ["x" * 43, "", "a", "x" * 5000, "../../etc", '"', "é"])
def test_an_id_that_a_client_invents_is_never_taken_over(make: Any, cookie: str) -> None:
    async def body() -> None:
        headers = {"cookie": f"session={cookie}".encode("latin-1")}
        async with browser(make(stored())) as client:
            answer = await client.post("/?do=login&user=ann", headers=headers)
            assert answer.status_code == 200
            assert client.cookies["session"] != cookie
            answer = await client.get("/", headers=headers)
            assert "ann" not in answer.text

    asyncio.run(body())


def test_the_store_holds_no_cookie(make: Any) -> None:
    async def body() -> None:
        space = f"looked-at-{make.__name__}"
        async with browser(make(hybrid.StoredSessions(namespace=space))) as client:
            await client.post("/?do=apple")
            keys = [key async for key in State(space).scan()]
            assert len(keys) == 1
            assert client.cookies["session"] not in keys[0]

    asyncio.run(body())


def test_a_request_that_fails_in_falcon_changes_no_session() -> None:
    async def body() -> None:
        async with browser(falcon_app(stored())) as client:
            await client.post("/?do=apple")
            assert (await client.post("/?do=fail")).status_code == 400
            assert (await client.get("/")).json() == {"items": ["apple"]}

    asyncio.run(body())


def test_a_session_ends_when_it_is_idle_and_at_its_age() -> None:
    async def body() -> None:
        now = 1000.0
        keeper = stored(idle=100.0, absolute=250.0, clock=lambda: now)
        session = await keeper.load(None)
        session["user"] = "ann"
        cookie = await keeper.save(session)
        versions = set()
        for now in (1005.0, 1090.0, 1180.0, 1240.0):  # noqa: B007 - the clock reads it
            session = await keeper.load(cookie)
            assert session["user"] == "ann"
            versions.add(session.version)
            assert await keeper.save(session) is None
        assert len(versions) == 3  # a look after 5 s is not worth a write
        now = 1251.0
        assert "user" not in await keeper.load(cookie)

    asyncio.run(body())


def test_idle_time_is_the_stores_time_to_live() -> None:
    async def body() -> None:
        keeper = stored(idle=0.2)
        session = await keeper.load(None)
        session["user"] = "ann"
        cookie = await keeper.save(session)

        async def is_gone() -> bool:
            return "user" not in await keeper.load(cookie)

        await until(is_gone, "the session is gone")

    asyncio.run(body())


async def two_at_once(keeper: hybrid.StoredSessions) -> tuple[str | None, Session, Session]:
    first = await keeper.load(None)
    first.update(kept=1, gone=1, nested={"n": 1})
    cookie = await keeper.save(first)
    return cookie, await keeper.load(cookie), await keeper.load(cookie)


def test_requests_at_the_same_time_are_merged_by_name() -> None:
    async def body() -> None:
        keeper = stored()
        cookie, one, other = await two_at_once(keeper)
        one["a"] = 1
        del one["gone"]
        other["b"] = 2
        other["nested"]["n"] = 2
        await asyncio.gather(keeper.save(one), keeper.save(other))
        expected = {"kept": 1, "a": 1, "b": 2, "nested": {"n": 2}}
        assert (await keeper.load(cookie)).as_json() == expected

    asyncio.run(body())


def test_requests_at_the_same_time_are_refused_on_demand() -> None:
    async def body() -> None:
        keeper = stored(conflicts="refuse")
        cookie, one, other = await two_at_once(keeper)
        one["a"] = 1
        other["b"] = 2
        await keeper.save(one)
        with pytest.raises(SessionConflict):
            await keeper.save(other)
        assert "b" not in await keeper.load(cookie)

    asyncio.run(body())


def test_a_session_that_was_ended_meanwhile_does_not_come_back() -> None:
    async def body() -> None:
        for leave in ("end", "rotate"):
            keeper = stored()
            cookie, one, other = await two_at_once(keeper)
            getattr(one, leave)()
            await keeper.save(one)
            other["late"] = True
            assert await keeper.save(other) is None
            assert not await keeper.load(cookie)

    asyncio.run(body())


class Away:
    lifetime = 60.0

    def __init__(self, at: str) -> None:
        self._at = at

    async def load(self, cookie: str | None) -> Session:
        if self._at == "load":
            raise StateUnavailable("there", "gone", 1.0)
        return Session({}, 0.0)

    async def save(self, session: Session) -> str | None:
        raise StateUnavailable("there", "gone", 1.0)


@pytest.mark.parametrize("at", ["load", "save"])
def test_without_its_store_a_session_is_a_503(make: Any, at: str) -> None:
    async def body() -> None:
        async with browser(make(Away(at))) as client:
            answer = await client.post("/?do=apple")
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert "apple" not in answer.text

    asyncio.run(body())


def test_a_signed_cookie_that_was_changed_or_is_old_is_worth_nothing() -> None:
    async def body() -> None:
        keeper = hybrid.SignedSessions(SECRET)
        session = await keeper.load(None)
        session["user"] = "ann"
        cookie = await keeper.save(session)
        assert cookie is not None
        assert (await keeper.load(cookie))["user"] == "ann"
        for other in (cookie[:-2] + "xx", "x" + cookie, cookie.split(".")[0], "", None):
            assert not await keeper.load(other)
        assert not await hybrid.SignedSessions("another secret, as long").load(cookie)
        both = hybrid.SignedSessions([SECRET, "the newer secret of the two"])
        assert (await both.load(cookie))["user"] == "ann"
        assert not await hybrid.SignedSessions(SECRET, absolute=-1).load(cookie)
        session["much"] = secrets.token_hex(4000)  # which cannot be compressed
        with pytest.raises(ValueTooLarge):
            await keeper.save(session)
        with pytest.raises(ConfigError):
            hybrid.SignedSessions("short")

    asyncio.run(body())
