import socket

import pytest

from safety_gateway import __main__ as main
from safety_gateway.__main__ import listen


@pytest.mark.parametrize("dual", [True, False])
def test_every_address_of_the_pod_is_listened_at(dual: bool, monkeypatch: pytest.MonkeyPatch):
    dual = dual and socket.has_dualstack_ipv6()
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: dual)
    with listen(0) as listener:
        assert listener.family == (socket.AF_INET6 if dual else socket.AF_INET)
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1") if dual else ("127.0.0.1",):
            socket.create_connection((host, port), timeout=5).close()
            accepted, _ = listener.accept()
            with accepted:
                sends_at_once = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sends_at_once, "or an answer waits 40 ms between its head and its body"


def test_what_a_person_has_to_change_is_where_kubernetes_reads_last_words(tmp_path, monkeypatch):
    words = tmp_path / "termination-log"
    words.touch()
    monkeypatch.setattr(main, "TERMINATION_LOG", words)
    with pytest.raises(SystemExit) as ended:
        main.give_up("spec.guardrails.config: no.")
    assert ended.value.code == 42
    assert words.read_text(encoding="utf-8") == "InvalidSpec: spec.guardrails.config: no."
