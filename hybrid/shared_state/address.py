"""Where the state is: what ``--state`` may say, and what may be shown of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from urllib.parse import urlsplit

from hybrid.errors import ConfigError
from hybrid.shared_state.contract import Store

_REDIS = ("redis_store", "RedisStore", "redis", "redis")
_POSTGRESQL = ("postgresql_store", "PostgresqlStore", "psycopg", "postgresql")
_MONGODB = ("mongodb_store", "MongodbStore", "pymongo", "mongodb")
# scheme -> module, class, what its driver is imported as, the extra that installs it
_STORES = {
    "redis": _REDIS,
    "rediss": _REDIS,
    "unix": _REDIS,
    "memcached": ("memcached_store", "MemcachedStore", "memcachio", "memcached"),
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "mongodb": _MONGODB,
    "mongodb+srv": _MONGODB,
}
_SECRET = re.compile(r"(?i)([^=&?;/]*(?:pass|password|passwd|secret|token)=)[^&;]*")


def check_address(url: str) -> None:
    """Refuse what is no address of a store.

    Raises:
        ConfigError: there is no such kind, or it has no host. The message shows no password.
    """
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return
    if scheme not in _STORES:
        kinds = "sqlite:, redis:, memcached:, postgresql:, mongodb:"
        raise ConfigError(
            f"{hide_password(url)!r} is not the address of a store; it begins {kinds}"
        )
    parts = urlsplit(url)
    if not (parts.netloc or parts.path.strip("/")):
        raise ConfigError(f"{url!r} names no host; write {scheme}://HOST:PORT")
    try:
        _ = parts.port
    except ValueError as ex:
        if "," not in parts.netloc:  # several hosts are written so; their driver reads them
            raise ConfigError(f"{hide_password(url)!r} has no usable port") from ex


def has_password(url: str) -> bool:
    """Return whether an address holds a secret."""
    return hide_password(url) != url


def hide_password(url: str) -> str:
    """Return an address as it may be shown: a password in it is ``***``."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    # By hand, because what cannot be parsed has to be hidden as well. The last @ ends the secret.
    user, at, tail = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = _SECRET.sub(r"\1***", f"{name}{':***' if colon else ''}{at}{tail}")
    return f"{scheme}://{shown}"


def check_driver(url: str) -> None:
    """Refuse a store whose driver is not installed; imports nothing of it.

    Raises:
        ConfigError: with what to install.
    """
    scheme = url.partition(":")[0]
    if scheme in _STORES:
        _, _, driver, extra = _STORES[scheme]
        if find_spec(driver) is None:
            raise ConfigError(
                f"{scheme}: needs a driver that is not installed: pip install "
                f"'hybrid-server[{extra}]'"
            )


def open_store(url: str, embedded: Callable[[], str], timeout: float, connections: int) -> Store:
    """Return the store of an address; it connects with its first call.

    Args:
        url: as ``--state`` takes it.
        embedded: returns the path that ``sqlite:`` without one means; OSError: there is none.
        timeout: seconds that connecting, or a lock, may take.
        connections: that it may open at once.
    """
    check_driver(url)
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        from hybrid.shared_state.stores.sqlite_store import SqliteStore

        path = rest.removeprefix("//")
        return SqliteStore((lambda: path) if path else embedded, timeout)
    module, name, _, _ = _STORES[scheme]
    make: Callable[[str, float, int], Store] = getattr(
        import_module(f"hybrid.shared_state.stores.{module}"), name
    )
    return make(url, timeout, connections)
