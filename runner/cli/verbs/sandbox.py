"""`sandbox`: the embedded service, served for other clients."""

from __future__ import annotations

import math
from pathlib import Path

import click

from runner.cli import console
from runner.cli.common_options import common_options
from runner.cli.options import gathered
from runner.errors import ServiceUnreachableError, UsageError
from runner.http.access import is_loopback
from runner.providers import DEFAULT
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxUnavailable, serve


def read_latency(
    _context: click.Context | None, _option: click.Parameter | None, text: str
) -> tuple[float, float]:
    """Seconds from acceptance to a terminal state: `2`, or the range `1..3` to draw from."""
    low, dots, high = text.partition("..")
    try:
        bounds = (float(low), float(high if dots else low))
    except ValueError:
        raise click.BadParameter(f"`{text}` is neither a number nor a range; hint: write 2 or 1..3") from None
    if not 0 <= bounds[0] <= bounds[1] < math.inf:
        raise click.BadParameter(f"`{text}` is not a range of seconds; hint: write it as 1..3, smaller first")
    return bounds


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: a free one.")
@click.option(
    "--latency",
    callback=read_latency,
    default="1..3",
    show_default=True,
    metavar="SECONDS",
    help="From acceptance to the end of a task: a number, or a range such as 1..3.",
)
@click.option(
    "--scale",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.25,
    show_default=True,
    help="Shrinks the pixels only; every reported figure stays nominal.",
)
@click.option(
    "--rpm", type=click.IntRange(0), default=0, show_default=True, help="Requests a minute; 0: no limit."
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Keep accepted tasks there, so that a restart knows them.",
)
@click.option(
    "--lists",
    "shared_list",
    callback=lambda _context, _option, kind: kind == "shared",
    type=click.Choice(["shared", "per-key"]),
    default="shared",
    show_default=True,
    help="shared: the list shows all keys' tasks, so its total counts what was accepted; the service's own"
    " lists are per key.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the latencies that are drawn.")
@gathered("config", SandboxConfig)
@common_options
def sandbox(config: SandboxConfig) -> None:
    """Serve the protocols of the services on this machine, with real MP4s and without any cost.

    Prints its URL as the first line on stdout once it accepts connections; any key that begins
    with rsk_ is accepted. A prompt that holds [violate] fails as a content policy violation. Ends on
    Ctrl-C.

    \b
    Examples:
      callsheet sandbox --port 8080
      callsheet sandbox --latency 60..180 --rpm 60
    """
    try:
        serve(config, _announce)
    except SandboxUnavailable as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise ServiceUnreachableError(
            f"{config.host}:{config.port}: cannot listen: {error.strerror}",
            hint="choose another --host or --port",
        ) from error


def _announce(url: str) -> None:
    console.result(url)
    console.flush()
    if not is_loopback(url):
        console.error(
            f"warning: whoever reaches this machine by its network can use {url}: any key that begins with"
            " rsk_ is accepted, and each request renders a video here. It holds no real key and spends"
            " nothing; hint: --host 127.0.0.1 serves this machine only"
        )
        return
    console.note(f"try: {DEFAULT.key_variables[0]}={SANDBOX_KEY} callsheet run JOB --base-url {url}")
