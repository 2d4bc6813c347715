"""What to send, where to, how fast: the message from controller to load generator.

A plan is one line of JSON, so that the generator can be a process of its own:
a generator inside the measuring program would share its interpreter lock, and
report its own pauses as the server's.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from urllib.parse import urlsplit

ARRIVALS = ("poisson", "constant", "burst", "trace")
MOST = 20_000_000  # requests of one run; 45 bytes each in memory, and more than an hour of work


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of request and the process by which it arrives."""

    name: str
    path: str  # with the query string
    rate: float = 0.0  # requests/s offered; in a closed loop the weight of this stream
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body_file: str = ""  # path of the body; empty: no body
    arrivals: str = "poisson"
    burst: int = 10  # requests that arrive together, for "burst"
    trace: tuple[float, ...] = ()  # intended start times in seconds from 0, for "trace"

    def check(self, duration: float) -> None:
        """Refuse arrivals that make no sense; see `LoadPlan.check`."""
        if self.arrivals == "trace":
            if not self.trace:
                raise ValueError("arrivals from a trace need its start times (--trace FILE)")
            return
        if not 0.0 < self.rate < math.inf:
            raise ValueError(f"stream {self.name!r} needs a rate above 0, got {self.rate:g}/s")
        if self.rate * duration > MOST:
            count = self.rate * duration
            raise ValueError(f"{count:,.0f} requests are too many for one run (at most {MOST:,})")
        if self.burst < 1:
            raise ValueError(f"a burst is at least 1 request, got {self.burst}")


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One run of the load generator.

    `concurrency` 0 is an *open* loop: requests start at their intended times
    whether or not earlier ones were answered, and latency counts from the
    intended time. Above 0 it is a *closed* loop of that many clients, which
    finds the saturation throughput but hides stalls (coordinated omission).
    """

    host: str
    port: int
    streams: tuple[Stream, ...]
    duration: float = 5.0  # s of offered load, warm-up included
    warmup: float = 0.0  # s at the start that the summary leaves out
    connections: int = 64  # keep-alive connections opened before the first request
    max_connections: int = 1024  # above it a due request waits, and the wait counts
    reconnect_every: int = 0  # requests on one connection; 0: no limit
    concurrency: int = 0  # clients of a closed loop; 0: open loop
    timeout: float = 10.0  # s from sending to the end of the answer
    seed: int = 1
    out: str = ""  # .npz for the columns; empty: summary only

    def check(self) -> None:
        """Refuse what cannot be run.

        Raises:
            ValueError: naming the first field that makes no sense, and its value.
        """
        positive = {"duration": self.duration, "timeout": self.timeout}
        counts = {
            "connections": self.connections,
            "reconnect-every": self.reconnect_every,
            "concurrency": self.concurrency,
        }
        for name, value in positive.items():
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} is a number of seconds above 0, got {value:g}")
        for name, count in counts.items():
            if count < 0:
                raise ValueError(f"{name} is a count, got {count}")
        if self.max_connections < 1:
            raise ValueError(f"max-connections is at least 1, got {self.max_connections}")
        if not 0.0 <= self.warmup < self.duration:
            raise ValueError(
                f"a warm-up of {self.warmup:g} s leaves nothing of {self.duration:g} s"
            )
        for stream in self.streams if not self.concurrency else ():
            stream.check(self.duration)

    def with_rate(self, rate: float) -> LoadPlan:
        """Return the same mix of streams at `rate` requests/s in all."""
        total = sum(stream.rate for stream in self.streams)
        scaled = tuple(replace(s, rate=s.rate * rate / total) for s in self.streams)
        return replace(self, streams=scaled)

    def to_json(self) -> str:
        """Return the plan as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> LoadPlan:
        """Return the plan that `to_json` wrote."""
        fields = json.loads(line)
        fields["streams"] = tuple(_stream(each) for each in fields["streams"])
        return cls(**fields)


def header(line: str) -> tuple[str, str]:
    """Split ``NAME: VALUE``.

    Raises:
        ValueError: there is no colon.
    """
    name, colon, value = line.partition(":")
    if not colon:
        raise ValueError(f"a header is 'NAME: VALUE', got {line!r}")
    return name.strip(), value.strip()


@dataclass(frozen=True, slots=True)
class Target:
    """A server address taken from a URL."""

    host: str
    port: int
    path: str = "/"

    @classmethod
    def from_url(cls, url: str) -> Target:
        """Split ``http://host:port/path?query``.

        Raises:
            ValueError: the scheme is not http (the generator speaks no TLS).
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"expected http://host:port/path, got {url!r}; TLS is not spoken here")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, parts.port or 80, path)


def _stream(fields: dict[str, object]) -> Stream:
    headers = tuple((str(k), str(v)) for k, v in fields.pop("headers"))  # type: ignore[attr-defined]
    trace = tuple(float(at) for at in fields.pop("trace"))  # type: ignore[attr-defined]
    return Stream(headers=headers, trace=trace, **fields)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class RunClock:
    """When a run happened, and what it cost the generator itself."""

    started: float  # monotonic s; the columns count from here
    elapsed: float  # s until the last answer
    cpu: float  # CPU s of the generator process within `elapsed`
    offered_for: float = 0.0  # s over which requests were due
