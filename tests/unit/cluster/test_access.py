"""Where the API server is, and who asks."""

import subprocess
import sys
from pathlib import Path

import kopf
import pytest
import yaml

from safety_operator.cluster.access import TOKEN_SECONDS, Access, find_access
from safety_operator.errors import SettingsError

REPO = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


def write_kubeconfig(folder: Path, user: dict[str, str]) -> None:
    config = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "it", "user": user}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config), encoding="utf-8")


def test_a_kubeconfig_gives_server_and_token(tmp_path):
    write_kubeconfig(tmp_path, {"token": "t"})
    found = find_access()
    assert found.server == "http://127.0.0.1:1"
    assert found.headers() == {"Authorization": "Bearer t"}


@pytest.mark.parametrize("text", [None, "", "current-context: it", "- [", "current-context: [1"])
def test_without_a_way_to_the_api_server_it_is_said_what_to_set(tmp_path, text):
    if text is not None:
        (tmp_path / "kubeconfig").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match="set KUBECONFIG"):
        find_access()


def test_in_a_pod_without_a_token_it_is_said_what_is_missing(monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: None)
    with pytest.raises(SettingsError, match="no token of a service account"):
        find_access()


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_in_a_pod_the_server_is_found_by_its_address(monkeypatch, host, server):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    info = kopf.ConnectionInfo(server="https://kubernetes.default.svc", token="t")
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: info)
    assert find_access().server == server


def test_a_token_of_a_service_account_is_read_again_once_a_new_one_may_be_there(tmp_path):
    now = 0.0
    file = tmp_path / "token"
    file.write_text("second\n", encoding="utf-8")
    info = kopf.ConnectionInfo(server="http://127.0.0.1:1", token="first")
    found = Access(info, token_file=file, clock=lambda: now)
    assert found.headers() == {"Authorization": "Bearer first"}
    now = TOKEN_SECONDS
    assert found.headers() == {"Authorization": "Bearer second"}


def test_a_token_that_cannot_be_read_for_a_moment_is_used_for_longer(tmp_path, caplog):
    now = 0.0
    file = tmp_path / "token"
    info = kopf.ConnectionInfo(server="http://127.0.0.1:1", token="first")
    found = Access(info, token_file=file, clock=lambda: now)
    now = TOKEN_SECONDS
    assert found.headers() == {"Authorization": "Bearer first"}
    assert "cannot read the token" in caplog.text
    file.write_text("second", encoding="utf-8")
    now = 2 * TOKEN_SECONDS
    assert found.headers() == {"Authorization": "Bearer second"}


def test_the_operator_starts_without_the_official_client_which_costs_28_mib():
    script = "import sys; sys.modules['kubernetes'] = None; import safety_operator.main"
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={"PYTHONPATH": str(REPO / "operator")}, timeout=60
    )
