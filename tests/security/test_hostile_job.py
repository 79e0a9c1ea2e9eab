"""A job file from a stranger: it can spend what the cap allows, at the default origin, and no more."""

from __future__ import annotations

import socket
from pathlib import Path

import click
import pytest

from runner.cli.main import VERBS, callsheet
from runner.errors import ExitCode
from tests.security.checkout import JOB, Checkout
from tests.support.wire_server import answer, answering

SECRET = "canary5ecret"


@pytest.mark.security(10)
@pytest.mark.security(21)
@pytest.mark.parametrize("verb", ["validate", "plan", "run"])
def test_a_job_cannot_send_the_key_elsewhere(checkout: Checkout, verb: str) -> None:
    with answering(answer(200, {"id": "t-1"})) as thief:
        job = checkout.write(f"{JOB}base_url: {thief.origin}\n")
        told = checkout.call(verb, job)
        assert told.returncode == ExitCode.JOB_INVALID
        assert "a job file must not decide where the API key is sent" in told.stderr
        (checkout.root / ".env").write_text(f"MESHAPI_BASE_URL={thief.origin}\n")
        checkout.call(verb, checkout.write(JOB))
        assert thief.connections == 0


@pytest.mark.security(10)
def test_a_trusted_job_may_name_the_host_where_nobody_else_does(checkout: Checkout) -> None:
    """The command line and the environment stand above it."""
    checkout.variables["MESHAPI_BASE_URL"] = ""
    told = checkout.run(f"{JOB}base_url: {checkout.server.url}\n", "--trust-job")
    assert told.returncode == 0, told.stderr
    assert checkout.server.accepted == 2


@pytest.mark.security(21)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", "{webhook: {public_url: 'https://thief.example/h'}}"),
        ("request", "{callback_url: 'https://thief.example'}"),
        ("request", "{callback_url: 'http://127.0.0.1@thief.example'}"),
        ("request", "{callback_url: 'http://thief.example\\@127.0.0.1/'}"),
        ("request", "{callback_url: 'http://${{ run.date }}.example'}"),
        ("matrix", "{callback_url: ['https://thief.example', 'http://127.0.0.1:9']}"),
        ("matrix", "{look: [{id: a, callback_url: 'https://thief.example'}]}"),
        ("matrix", "{callback_url: {from: addresses.txt}}"),
    ],
)
def test_a_job_cannot_have_the_service_call_elsewhere(checkout: Checkout, key: str, value: str) -> None:
    """What is called would learn where the results are."""
    told = checkout.run(f"{without(key)}{key}: {value}\n")
    assert told.returncode == ExitCode.JOB_INVALID
    assert "the service would tell this address of your results" in told.stderr
    assert checkout.server.accepted == 0


@pytest.mark.security(19)
@pytest.mark.parametrize(
    "listen", ["0.0.0.0:8787", "[::]:8787", "example.com:8787", "127.0.0.1.example.com:80"]
)
def test_a_job_cannot_open_a_port_to_the_network(checkout: Checkout, listen: str) -> None:
    webhook = f"{{public_url: 'http://127.0.0.1:8787', listen: '{listen}'}}"
    told = checkout.run(f"{without('run')}run: {{webhook: {webhook}}}\n")
    assert told.returncode == ExitCode.JOB_INVALID
    assert "this would open a port to the network" in told.stderr


def test_a_note_of_the_author_is_no_address(checkout: Checkout) -> None:
    told = checkout.call(
        "validate",
        checkout.write(
            f"{JOB}vars: {{callback_url: 'https://a.example'}}\nx-note: {{callback_url: 'https://a.example'}}\n"
        ),
    )
    assert told.returncode == 0, told.stderr


@pytest.mark.security(21)
def test_a_trusted_job_may_be_called(checkout: Checkout) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    webhook = f"{{public_url: 'https://mine.example', listen: '127.0.0.1:{port}'}}"
    text = f"{without('run')}run: {{settle: 0s, webhook: {webhook}}}\n"
    checkout.variables["MESHAPI_BASE_URL"] = ""
    assert checkout.run(text, "--sandbox").returncode == ExitCode.JOB_INVALID
    told = checkout.run(text, "--sandbox", "--trust-job")
    assert told.returncode == 0, told.stderr


def without(key: str) -> str:
    """The job but for one of its keys."""
    return "".join(line for line in JOB.splitlines(keepends=True) if not line.startswith(f"{key}:"))


@pytest.mark.security(2)
@pytest.mark.security(21)
@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "MESHAPI_API_KEY", "MESHAPI_TOKEN", "HOME"])
def test_a_job_cannot_put_a_variable_into_a_request(checkout: Checkout, name: str) -> None:
    checkout.variables["AWS_SECRET_ACCESS_KEY"] = SECRET
    checkout.variables["MESHAPI_TOKEN"] = SECRET
    text = JOB.replace("text: A paper boat", f"text: '${{{{ env.{name} }}}}'")
    for job in (f"{text}env: [{name}]\n", text):
        told = checkout.run(job)
        assert told.returncode == ExitCode.JOB_INVALID, told.stderr
        assert SECRET not in told.stdout + told.stderr
    assert checkout.server.accepted == 0


@pytest.mark.security(2)
def test_no_option_makes_the_key_a_value(checkout: Checkout) -> None:
    checkout.variables["ALIAS"] = f"x{checkout.key}x"
    text = JOB.replace("text: A paper boat", "text: '${{ env.ALIAS }}'") + "env: [ALIAS]\n"
    for option in ("--allow-env=ALIAS", "--trust-job"):
        told = checkout.run(text, option)
        assert told.returncode == ExitCode.JOB_INVALID
        assert checkout.key not in told.stdout + told.stderr
    assert checkout.server.accepted == 0


@pytest.mark.security(2)
@pytest.mark.parametrize(
    "value", ["${{ 1 }}", "a\nseeds: 1..900", "b: c", "- [", "*alias", "!!python/object:os.system x"]
)
def test_the_value_of_a_variable_stays_a_value(checkout: Checkout, value: str) -> None:
    checkout.variables["MOOD"] = value
    text = JOB.replace("text: A paper boat", "text: '${{ env.MOOD }}'") + "env: [MOOD]\n"
    text += "lint: {prompt-placeholder: 'off'}\n"
    told = checkout.run(text, "--allow-env", "MOOD")
    assert told.returncode == 0, told.stderr
    assert {task.request["content"][0]["text"] for task in checkout.server.tasks()} == {value}
    assert checkout.server.accepted == 2


@pytest.mark.security(2)
def test_a_variable_of_another_secret_cannot_be_named_as_the_key(checkout: Checkout) -> None:
    checkout.variables["AWS_SECRET_ACCESS_KEY"] = SECRET
    told = checkout.run(f"{JOB}api_key_env: AWS_SECRET_ACCESS_KEY\n")
    assert told.returncode == ExitCode.JOB_INVALID
    assert SECRET not in told.stdout + told.stderr


@pytest.mark.security(5)
@pytest.mark.security(21)
@pytest.mark.parametrize(
    "source", ["../outside/id.png", "{outside}/id.png", "link.png", "file:///{outside}/id.png"]
)
def test_a_job_cannot_read_outside_the_root(checkout: Checkout, source: str) -> None:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(17)
    (checkout.outside / "id.png").write_bytes(png)
    (checkout.root / "link.png").symlink_to(checkout.outside / "id.png")
    image = source.format(outside=checkout.outside)
    item = f"  - {{type: image_url, image_url: '{image}', role: first_frame}}\n"
    told = checkout.run(JOB.replace("output:", f"{item}output:"))
    assert told.returncode in (ExitCode.JOB_INVALID, ExitCode.INPUT_MISSING), told.stderr
    assert checkout.server.accepted == 0


@pytest.mark.security(4)
@pytest.mark.security(21)
@pytest.mark.parametrize(
    "output", ["/tmp/x.mp4", "../outside/x.mp4", "up/x.mp4", ".callsheet/x.mp4", "~/x.mp4"]
)
def test_a_job_cannot_write_outside_the_root(checkout: Checkout, output: str) -> None:
    checkout.base.mkdir()
    for directory in (checkout.root, checkout.base):
        (directory / "up").symlink_to(checkout.outside)
    told = checkout.run(JOB.replace("seeds: 1..2", "seeds: [1]").replace("out/s${{ seed }}.mp4", output))
    assert told.returncode != 0
    assert list(checkout.outside.iterdir()) == []
    assert checkout.server.accepted == 0, "paid for what cannot be saved"


@pytest.mark.security(4)
def test_a_value_in_a_path_is_one_component(checkout: Checkout) -> None:
    text = JOB.replace("request:", "matrix: {shot: ['../../outside/a', 'C:\\x', 'aux', '.hidden']}\nrequest:")
    told = checkout.run(text.replace("A paper boat", "${{ shot }}").replace("out/s", "out/${{ shot }}-"))
    assert told.returncode == 0, told.stderr
    assert list(checkout.outside.iterdir()) == []
    assert {path.parent for path in checkout.base.rglob("*.mp4")} == {checkout.base / "out"}
    assert checkout.server.accepted == 8


@pytest.mark.security(21)
def test_a_job_spends_no_more_than_its_cap(checkout: Checkout) -> None:
    assert checkout.run(f"{JOB}budget: {{max_tasks: 1}}\n").returncode == ExitCode.REFUSED
    assert checkout.server.accepted == 1


@pytest.mark.security(20)
@pytest.mark.parametrize("place", ["api_key: {key}", "x-note: {key}", "vars: {{a: 'Bearer {key}'}}"])
def test_a_key_in_a_job_file_is_refused_and_not_shown(checkout: Checkout, place: str) -> None:
    key = "rsk_0123456789abcdefcanary"
    told = checkout.run(f"{JOB}{place.format(key=key)}\n")
    assert told.returncode == ExitCode.JOB_INVALID
    assert "key" in told.stderr
    assert key not in told.stdout + told.stderr


@pytest.mark.security(20)
def test_no_option_takes_a_secret() -> None:
    """A command line is seen by every user of the machine."""
    context = click.Context(callsheet)
    for verb in VERBS:
        command = callsheet.get_command(context, verb)
        assert command is not None
        names = {name for parameter in command.params for name in parameter.opts}
        assert not {
            name for name in names if any(word in name for word in ("key", "token", "secret", "password"))
        }


@pytest.mark.security(11)
def test_proxies_and_netrc_of_the_environment_are_not_used(checkout: Checkout, tmp_path: Path) -> None:
    with answering(answer(502)) as proxy:
        (tmp_path / "netrc").write_text("default login thief password canary\n")
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            checkout.variables[name] = proxy.origin
        checkout.variables["NETRC"] = str(tmp_path / "netrc")
        told = checkout.run()
        assert told.returncode == 0, told.stderr
        assert proxy.connections == 0
