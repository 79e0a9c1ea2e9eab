"""A whole run behind a proxy, against a service with a certificate of its own authority."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from runner.errors import ExitCode
from runner.sandbox import SANDBOX_KEY, SandboxConfig, SandboxServer
from tests.support.command_process import callsheet
from tests.support.connect_proxy import ConnectProxy, TlsFront
from tests.support.verb_bench import JOB

ORIGIN = "https://api.example.test"
PASSWORD = "hunter2-canary"


@dataclass(frozen=True, slots=True)
class Office:
    """A network where the service is reached through a proxy alone."""

    proxy: ConnectProxy
    sandbox: SandboxServer
    environment: dict[str, str]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    authority = trustme.CA()
    certificates = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(certificates)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.example.test").configure_cert(tls)
    with contextlib.ExitStack() as stack:
        config = SandboxConfig(latency=(0.0, 0.0), scale=0.05, public_url=ORIGIN)
        sandbox = stack.enter_context(SandboxServer(config))
        front = stack.enter_context(contextlib.closing(TlsFront(tls, int(sandbox.url.rpartition(":")[2]))))
        user_info = f"me:{PASSWORD}"
        proxy = ConnectProxy(("127.0.0.1", front.port), user_info=user_info)
        stack.enter_context(contextlib.closing(proxy))
        yield Office(
            proxy,
            sandbox,
            {
                "HTTPS_PROXY": f"http://{user_info}@127.0.0.1:{proxy.port}",
                "NO_PROXY": "intern.example",
                "SSL_CERT_FILE": str(certificates),
                "MESHAPI_BASE_URL": ORIGIN,
                "MESHAPI_API_KEY": SANDBOX_KEY,
            },
        )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "film"
    root.mkdir()
    assert callsheet("-q", "init", cwd=root).returncode == 0
    (root / "job.yaml").write_text(JOB)
    return root


def everything_written(root: Path) -> bytes:
    return b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


@pytest.mark.security(16)
def test_a_run_submits_polls_and_downloads_through_the_proxy_and_writes_its_password_nowhere(
    office: Office, project: Path
) -> None:
    """Security line 16: a canary."""
    with (project / "callsheet.yaml").open("a") as file:
        file.write("trust_env: true\n")
    ran = callsheet("run", "job.yaml", "--yes", "-vv", cwd=project, **office.environment)
    assert ran.returncode == ExitCode.DONE, ran.stderr
    assert sorted(path.name for path in (project / "out").iterdir()) == ["s1.mp4", "s2.mp4"]
    assert office.sandbox.accepted == 2
    assert set(office.proxy.targets) == {"api.example.test:443"}
    assert PASSWORD.encode() not in everything_written(project)
    assert PASSWORD not in ran.stdout + ran.stderr


def test_without_being_asked_the_proxy_and_the_certificates_are_left_alone(
    office: Office, project: Path
) -> None:
    ran = callsheet("run", "job.yaml", "--deadline", "1s", cwd=project, **office.environment)
    assert ran.returncode != ExitCode.DONE
    assert office.proxy.targets == []


def test_doctor_says_what_holds(office: Office, project: Path) -> None:
    asked = callsheet("doctor", "--trust-env", "--output-format", "json", cwd=project, **office.environment)
    assert asked.returncode == ExitCode.DONE, asked.stdout
    found = {row["what"]: row["words"] for row in json.loads(asked.stdout)["findings"]}
    assert found["network"].startswith(
        f"https goes through the proxy 127.0.0.1:{office.proxy.port}, with a user name, except to loopback,"
        " intern.example; the certificates are "
    )
    assert "takes the key of MESHAPI_API_KEY" in found["mesh"]
    assert PASSWORD not in asked.stdout


@pytest.mark.parametrize(
    ("changes", "told", "code"),
    [
        ({"HTTPS_PROXY": "socks5://p:1"}, "HTTPS_PROXY: a proxy is reached by http:// only", ExitCode.USAGE),
        ({"SSL_CERT_FILE": "/none.pem"}, "/none.pem: No such file or directory", ExitCode.USAGE),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_sent(
    office: Office, project: Path, changes: dict[str, str], told: str, code: ExitCode
) -> None:
    environment = {**office.environment, **changes}
    for verb in (["run", "job.yaml", "--yes"], ["doctor"]):
        ran = callsheet(*verb, "--trust-env", cwd=project, **environment)
        assert told in ran.stdout + ran.stderr
        assert ran.returncode == code
    assert office.sandbox.accepted == 0


def test_a_wrong_password_is_the_proxys_word_and_nothing_was_sent(office: Office, project: Path) -> None:
    environment = {**office.environment, "HTTPS_PROXY": f"http://me:wrong@127.0.0.1:{office.proxy.port}"}
    ran = callsheet("doctor", "--trust-env", cwd=project, **environment)
    assert ran.returncode == ExitCode.UNREACHABLE
    assert "wants a user name and a password, or refuses them (407)" in " ".join(ran.stdout.split())
    assert office.sandbox.accepted == 0
