"""`accounts` and `budgets` of callsheet.yaml: data, each mistake told at its place."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import JobError, KeyRefusedError
from runner.http.access import ApiKey
from runner.job.project import environment
from runner.job.project.environment import key_names, read_env
from runner.job.project.load_lock import load_models_lock
from runner.job.project.load_project import load_project_file
from runner.job.project_file import ProjectFile, Where, Window, WindowCap
from runner.providers import every
from runner.providers.account import Account, refuse_twins
from runner.providers.getimg import GETIMG
from runner.providers.mesh import MESH
from runner.providers.provider import TagField

SERVER = replace(
    MESH,
    name="server",
    origin="",
    base_path="/v1",
    key_variables=("SERVER_API_KEY",),
    needs_key=False,
    tags={"user": TagField("user", 0, 1000, 500, prefix="cs")},
)
WITH_DIALECTS = replace(SERVER, dialects={"vllm-omni": SERVER, "sglang": replace(SERVER, limits=MESH.limits)})
"""A provider of servers of one's own."""


@pytest.fixture(autouse=True)
def server_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {**every(), "server": WITH_DIALECTS}
    for module in ("runner.providers", "runner.job.project.load_accounts"):
        monkeypatch.setattr(f"{module}.every", lambda: installed)


def read(root: Path, text: str) -> ProjectFile:
    (root / "callsheet.yaml").write_text("version: 1\n" + text, encoding="utf-8")
    return load_project_file(root)


def test_an_account_is_read_whole(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "accounts:\n"
        "  acme: {provider: mesh, api_key_env: ACME_KEY, rate: 60/min, labels: {client: Acme}}\n"
        "  gpu-1: {provider: server, base_url: 'http://gpu-box:8000', dialect: vllm-omni, tag: user}\n",
    )
    acme, gpu = found.accounts["acme"], found.accounts["gpu-1"]
    assert acme == Account("acme", MESH, "ACME_KEY", "", 1.0, {"client": "Acme"})
    assert acme.origin == MESH.origin
    assert (gpu.provider.tag, gpu.origin) == (SERVER.tags["user"], "http://gpu-box:8000/v1")
    assert gpu.key_variables == ("SERVER_API_KEY",)
    assert (
        read(tmp_path, (tmp_path / "callsheet.yaml").read_text().partition("\n")[2])
        .accounts["gpu-1"]
        .provider
        is gpu.provider
    )


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("http://gpu-box:8000", "http://gpu-box:8000/v1"),
        ("http://gpu-box:8000/", "http://gpu-box:8000/v1"),
        ("http://GPU-box:80/v1/", "http://gpu-box/v1"),
        ("https://gateway.test/openai/v1", "https://gateway.test/openai/v1"),
        ("http://127.0.0.1:8000/other", "http://127.0.0.1:8000/other"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_the_origin_of_a_server_of_one_s_own(tmp_path: Path, base_url: str, origin: str) -> None:
    said = f"accounts: {{gpu: {{provider: server, dialect: sglang, base_url: '{base_url}'}}}}\n"
    assert read(tmp_path, said).accounts["gpu"].origin == origin


def test_each_provider_is_an_account_of_its_own_name_and_can_be_refined(tmp_path: Path) -> None:
    found = read(tmp_path, "accounts: {mesh: {labels: {client: us}}}\n")
    assert found.account("mesh") == Account("mesh", MESH, labels={"client": "us"})
    assert found.account("getimg") == Account("getimg", GETIMG)
    assert found.account("acme") is None
    assert ProjectFile().account("mesh") == Account("mesh", MESH)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "acme: {api_key_env: A}",
            "3:9: accounts.acme: `provider` is missing; hint: add `provider:`, one of mesh",
        ),
        (
            "acme: {provider: mash, api_key_env: A}",
            "`mash` is not a provider that is installed; hint: did you",
        ),
        ("mesh: {provider: getimg, api_key_env: A}", "`mesh` is the name of another provider"),
        ("2nd: {provider: mesh}", "accounts.2nd: `2nd` must be a name of at most 40 letters"),
        ("acme: {provider: mesh}", "`acme` is the account `mesh` by another name"),
        (
            "acme: {provider: mesh, api_key_env: MESHAPI_API_KEY}",
            "give it a key of its own: `{api_key_env: ACME_KEY}`",
        ),
        (
            "a: {provider: mesh, api_key_env: K}\n  b: {provider: mesh, api_key_env: K}",
            "4:3: accounts.b: `b` is the account `a` by another name",
        ),
        (
            "a: {provider: server, dialect: sglang, base_url: 'http://localhost:1'}\n"
            "  b: {provider: server, dialect: sglang, base_url: 'http://127.0.0.1:1/v1'}",
            "`b` is the account `a` by another name",
        ),
        (
            "acme: {provider: mesh, api_key_env: sk-1234}",
            "must be the name of an environment variable, never the",
        ),
        (
            "gpu: {provider: server, base_url: 'http://a'}",
            "`dialect` is missing; hint: add `dialect:`, one of vllm-",
        ),
        (
            "gpu: {provider: server, base_url: 'http://a', dialect: vllm}",
            "server has no dialect `vllm`; hint: did you mean `vllm-omni`?",
        ),
        ("acme: {provider: mesh, dialect: x, api_key_env: A}", "mesh has no dialects; hint: delete it"),
        (
            "gpu: {provider: server, dialect: sglang}",
            "`base_url` is missing: server has no address of its own",
        ),
        (
            "gpu: {provider: server, dialect: sglang, base_url: 'http://a', tag: usr}",
            "server has no tag `usr`; hint: did you mean `user`?",
        ),
        (
            "acme: {provider: mesh, tag: seed, api_key_env: A}",
            "mesh has no tags to choose from; hint: delete it",
        ),
        (
            "acme: {provider: mesh, api_key_env: A, rate: 60}",
            "accounts.acme.rate: must be a rate above zero, such as",
        ),
        (
            "acme: {provider: mesh, api_key_env: A, base_url: 'https://u:p@a.test'}",
            "must not hold a user name",
        ),
        (
            "acme: {provider: mesh, api_key_env: A, base_url: 'https://a.test/?k=1'}",
            "must end with a plain path",
        ),
        (
            "acme: {provider: mesh, api_key_env: A, base_url: 'https://a.test/../b'}",
            "must end with a plain path",
        ),
        ("acme: {provider: mesh, api_key_env: A, labels: {client: 7}}", 'hint: quote it: "7"'),
        ("acme: {provider: mesh, api_key_env: A, lables: {}}", "hint: did you mean `labels`?"),
    ],
)
def test_a_mistake_in_an_account_is_told_at_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(JobError) as caught:
        read(tmp_path, f"accounts:\n  {text}\n")
    assert told in str(caught.value)
    assert "CANARY" not in str(caught.value)


ACME = "accounts: {acme: {provider: mesh, api_key_env: A, labels: {client: Acme}}}\n"


def test_budgets_are_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        ACME + "budgets:\n"
        "  - {month: {max_usd: 900, max_tasks: 3000}}\n"
        "  - {where: {account: acme}, month: {max_tasks: 9}, day: {max_usd: 0.5}}\n"
        "  - {where: {label.client: Acme}, day: {max_tasks: 0}}\n",
    ).budgets
    assert found == (
        WindowCap("budgets[0].month", Where(), Window.MONTH, 900_000_000, 3000),
        WindowCap("budgets[1].day", Where("acme"), Window.DAY, 500_000, None),
        WindowCap("budgets[1].month", Where("acme"), Window.MONTH, None, 9),
        WindowCap("budgets[2].day", Where("", {"client": "Acme"}), Window.DAY, None, 0),
    )
    assert [cap.where.words for cap in found] == ["the project", *["account acme"] * 2, "label.client Acme"]


def test_a_budget_covers_the_accounts_that_it_names() -> None:
    assert Where().covers("acme", {})
    assert Where("acme").covers("acme", {"client": "b"})
    assert not Where("acme").covers("mesh", {})
    assert Where("", {"client": "a"}).covers("mesh", {"client": "a", "film": "b"})
    assert not Where("acme", {"client": "a"}).covers("acme", {"client": "b"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{where: {account: acne}, day: {max_usd: 1}}", "no account `acne`; hint: did you mean `acme`?"),
        (
            "{where: {label.clint: Acme}, day: {max_usd: 1}}",
            "no account has a label `clint`; hint: did you mean",
        ),
        (
            "{where: {label.client: acme}, day: {max_usd: 1}}",
            "no account has the label `client` `acme`; hint: did you mean `Acme`?",
        ),
        (
            "{where: {account: mesh, label.client: Acme}, day: {max_usd: 1}}",
            "budgets[0].where: it would count nothing: no account is account mesh and label.client Acme",
        ),
        (
            "{where: {label.client: Acme, acount: a}, day: {max_usd: 1}}",
            "unknown key `acount`; hint: did you mean",
        ),
        ("{where: {client: Acme}, day: {max_usd: 1}}", "unknown key `client`"),
        ("{max_usd: 1}", "budgets[0].max_usd: unknown key `max_usd`"),
        ("{where: {account: acme}}", "has neither `day` nor `month`; hint: add `month: {max_usd: 300}`"),
        ("{day: {}}", "budgets[0].day: must not be empty"),
        ("{day: 50}", "must be keys and values, not `50`; hint: write `day: {max_usd: 50}`"),
        ("{day: {max_usd: -1}}", "must be at least 0, not `-1`"),
        ("{day: {max_tasks: 1.5}}", "must be a whole number, not `1.5`"),
        ("{day: {confirm_usd: 1}}", "unknown key `confirm_usd`"),
        ("{week: {max_usd: 1}}", "unknown key `week`"),
    ],
)
def test_a_mistake_in_a_budget_is_told_at_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(JobError) as caught:
        read(tmp_path, f"{ACME}budgets:\n  - {text}\n")
    assert told in str(caught.value)


def test_a_budget_for_an_account_with_a_label_of_its_own_counts(tmp_path: Path) -> None:
    (cap,) = read(
        tmp_path, ACME + "budgets: [{where: {account: acme, label.client: Acme}, day: {max_usd: 1}}]\n"
    ).budgets
    assert cap.where == Where("acme", {"client": "Acme"})


def test_budgets_that_are_no_list_are_told_as_one_begins(tmp_path: Path) -> None:
    with pytest.raises(
        JobError, match="must be a list, not keys and values; hint: begin each of them with `- `"
    ):
        read(tmp_path, f"{ACME}budgets: {{day: {{max_usd: 1}}}}\n")


def test_a_window_that_is_misspelt_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        read(tmp_path, f"{ACME}budgets: [{{days: {{max_usd: 1}}}}]\n")
    (problem,) = caught.value.problems
    assert problem.hint == "did you mean `day`?"


def test_a_mistake_in_an_account_is_told_once(tmp_path: Path) -> None:
    """Not again by the budgets that are for it, or for its labels."""
    with pytest.raises(JobError) as caught:
        read(
            tmp_path,
            "accounts: {acme: {provider: mash, labels: {client: a}}}\n"
            "budgets: [{where: {account: acme}, day: {max_usd: 1}},"
            " {where: {label.client: a}, day: {max_usd: 1}}]\n",
        )
    assert len(caught.value.problems) == 1


@pytest.mark.security(2)
def test_the_key_of_an_account_may_stand_in_env_and_is_no_secret_that_a_job_may_read(tmp_path: Path) -> None:
    read(tmp_path, ACME)
    (tmp_path / ".env").write_text("A=rsk_a\nOTHER=b\nMESHAPI_API_KEY=rsk_m\n")
    assert read_env(tmp_path, {}) == {"A": "rsk_a", "MESHAPI_API_KEY": "rsk_m"}
    assert "A" in key_names(tmp_path)
    why, _ = environment.why_refused("A", allow=frozenset({"A"}), trust_job=True, keys=key_names(tmp_path))
    assert "holds an API key" in why


@pytest.mark.fault(119)
def test_two_accounts_with_one_key_at_one_origin_are_refused() -> None:
    own, acme, getimg = Account("mesh", MESH), Account("acme", MESH, "ACME_KEY"), Account("getimg", GETIMG)
    key, other = ApiKey("rsk_one_and_the_same"), ApiKey("rsk_of_another")
    refuse_twins([(own, key), (acme, other), (getimg, key)])
    with pytest.raises(KeyRefusedError, match="`mesh` and `acme` have the same key") as refused:
        refuse_twins([(own, key), (getimg, key), (acme, key)])
    assert key.value not in str(refused.value)


@pytest.mark.fault(118)
@pytest.mark.parametrize(
    ("name", "load"), [("callsheet.yaml", load_project_file), ("models.lock.yaml", load_models_lock)]
)
def test_a_pipe_in_the_place_of_a_file_does_not_hang(
    tmp_path: Path, name: str, load: Callable[[Path], object]
) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(JobError, match="not a plain file"):
        load(tmp_path)


def test_a_pipe_in_the_place_of_env_holds_no_keys(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".env")
    assert read_env(tmp_path, {"B": "c"}) == {"B": "c"}
