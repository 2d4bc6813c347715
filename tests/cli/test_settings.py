"""Every setting is written once; the flag, the variable and the key in a file all set it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from hybrid.cli.options import Flag, parameters
from hybrid.cli.reference import replaced
from hybrid.cli.serve import serve
from hybrid.cli.settings import build_config, origins
from hybrid.config import Config, Place, settings, value_at, with_values
from hybrid.primary.operator.configuration import Configuration
from hybrid.setting import Heading, Setting

ROOT = Path(__file__).parents[2]
NOT_SET_BY_A_FLAG = {"app.target", "restart.intensity", "restart.period"}
WRITTEN = {  # (as the operator writes it, what it means), by how the help says it is written
    "DURATION": ("7m", 420.0),
    "DURATION>0": ("250ms", 0.25),
    "SIZE": ("3k", 3072),
    "OCTAL": ("640", 0o640),
    "ADDRESSES": ("10.0.0.0/8,::1", ("10.0.0.0/8", "::1")),
    "N|auto|none": ("7", 7),
    "FILE": ("some.file", Path("some.file")),
    "FOLDER": ("/", Path("/")),
    "ADDRESS": ("0.0.0.0:81", ("0.0.0.0:81",)),
    "MODULE": ("scipy", ("scipy",)),
    "PATH": ("/below", "/below"),
    "URL": ("sqlite:/some.db", "sqlite:/some.db"),
}


def example(place: Place, about: Setting) -> tuple[str, Any]:
    """Return a value other than the default, as written and as meant."""
    default = value_at(Config(), place)
    if about.written in WRITTEN:
        return WRITTEN[about.written]
    if not about.written:
        return json.dumps(not default), not default
    if ".." in about.written:
        return "17", 17
    word = next(word for word in about.written.split("|") if word != default)
    return word, word


def context(*args: str) -> click.Context:
    return serve.make_context("serve", list(args))


def origin(ctx: click.Context, about: Setting) -> str:
    return {name: origin for name, _, origin in origins(ctx)}[about.name]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "LISTEN_FDS", "LISTEN_PID"):
        monkeypatch.delenv(name, raising=False)
    for about in settings().values():
        monkeypatch.delenv(f"HYBRID_{about.parameter.upper()}", raising=False)


each_setting = pytest.mark.parametrize(
    ("place", "about"), settings().items(), ids=[about.name for about in settings().values()]
)


def test_every_field_is_a_setting_or_known_not_to_be_one() -> None:
    config = Config()
    groups = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    places = {("", name) for name, value in groups.items() if not dataclasses.is_dataclass(value)}
    for name, group in groups.items():
        if dataclasses.is_dataclass(group):
            places |= {(name, field.name) for field in dataclasses.fields(group)}
    assert {f"{g}.{name}" for g, name in places - settings().keys()} == NOT_SET_BY_A_FLAG
    assert settings().keys() <= places


def test_no_two_settings_share_a_flag() -> None:
    flags = [part for p in parameters() for part in (*p.opts, *p.secondary_opts)]
    assert len(flags) == len(set(flags))


def test_nothing_said_is_the_default_with_a_limit_for_the_cpus_there_are() -> None:
    config = build_config(context())
    assert config.cpu.limit is not None
    assert with_values(config, {("cpu", "limit"): None}) == Config()


@each_setting
def test_a_flag_sets_its_field_and_no_other(place: Place, about: Setting) -> None:
    written, meant = example(place, about)
    for flag in about.flags:
        yes, _, no = flag.partition("/")
        args = [yes, written] if about.written else [yes if meant else no]
        ctx = context(*args)
        assert value_at(build_config(ctx), place) == meant
        assert build_config(ctx) == with_values(build_config(context()), {place: meant})
        assert origin(ctx, about) == "command line"


@each_setting
def test_file_environment_and_command_line_win_in_this_order(
    place: Place, about: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, meant = example(place, about)
    file = tmp_path / "hybrid.toml"
    file.write_text(f"{about.name} = {written if not about.written else json.dumps(written)}\n")
    ctx = context("-c", str(file))
    assert value_at(build_config(ctx), place) == meant
    assert origin(ctx, about) == "configuration file"

    default = value_at(Config(), place)
    opposite = json.dumps(default) if not about.written else written
    monkeypatch.setenv(f"HYBRID_{about.parameter.upper()}", opposite)
    ctx = context("-c", str(file))
    assert value_at(build_config(ctx), place) == (meant if about.written else default)
    assert origin(ctx, about) == "environment"

    yes, _, no = about.flags[0].partition("/")
    flag = [yes, written] if about.written else [yes if meant else no]
    ctx = context("-c", str(file), *flag)
    assert value_at(build_config(ctx), place) == meant
    assert origin(ctx, about) == "command line"


@each_setting
def test_what_is_printed_can_be_typed_again(place: Place, about: Setting) -> None:
    written, meant = example(place, about)
    yes, _, no = about.flags[0].partition("/")
    ctx = context(*([yes, written] if about.written else [yes if meant else no]))
    printed = {name: text for name, text, _ in origins(ctx)}[about.name]
    assert printed == written


@each_setting
def test_a_reload_changes_a_setting_or_says_that_it_cannot(
    place: Place, about: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    first = Config()
    fresh = with_values(first, {place: example(place, about)[1]})
    configuration = Configuration(first, lambda: fresh)
    assert configuration.renew() == (first if about.fixed else fresh)
    assert (f"a reload cannot change {about.name};" in caplog.text) == about.fixed


@pytest.mark.parametrize(
    ("variable", "text", "place", "meant"),
    [
        ("PORT", "5000", ("bind", "addresses"), ("127.0.0.1:5000",)),
        ("WEB_CONCURRENCY", "5", ("", "io_workers"), 5),
        ("FORWARDED_ALLOW_IPS", "*", ("http", "forwarded_allow_ips"), ("*",)),
        ("FORWARDED_ALLOW_IPS", "", ("http", "forwarded_allow_ips"), ()),
        ("WEB_CONCURRENCY", "", ("", "io_workers"), 2),
    ],
)
def test_what_a_platform_sets_counts_where_nothing_else_does(
    variable: str, text: str, place: Place, meant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    ctx = context()
    assert value_at(build_config(ctx), place) == meant
    if value_at(Config(), place) != meant:
        assert origin(ctx, settings()[place]) == f"environment ({variable})"
    written = example(place, settings()[place])
    assert (
        value_at(build_config(context(settings()[place].flags[0], written[0])), place)
        == (written[1])
    )


@pytest.mark.parametrize(("variable", "text"), [("PORT", "x"), ("WEB_CONCURRENCY", "0")])
def test_nonsense_of_a_platform_is_refused_by_its_name(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(click.UsageError, match=variable):
        build_config(context())


def test_the_help_shows_every_flag_whole_under_its_heading() -> None:
    for width in (80, 100):
        ctx = click.Context(serve, info_name="serve", terminal_width=width, max_content_width=width)
        text = serve.get_help(ctx)
        parts = dict(zip([h.value for h in Heading], text.split(":\n  -")[1:], strict=True))
        for param in parameters():
            if isinstance(param, Flag):
                for flag in (*param.opts, *param.secondary_opts):
                    assert flag in f"-{parts[param.heading.value]}"
        assert max(map(len, text.splitlines())) <= width


def test_the_page_about_configuration_has_the_flags_of_today() -> None:
    page = (ROOT / "CONFIGURATION.md").read_text()
    assert replaced(page) == page, "make flags"


def test_the_configuration_imports_neither_click_nor_numpy() -> None:
    code = "import sys, hybrid.config; print({'click', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"
