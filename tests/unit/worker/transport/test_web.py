"""A file behind https://, from a real TLS server: a fake of somebody's site, with an authority of its own."""

import gzip
import io
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trustme
from tests.unit.worker.conftest import Workplace, resolve_files
from tests.unit.worker.support.fake_web import FakeWeb

from safety_records.data import Dataset
from safety_worker.datasets.loading import open_dataset
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.transport import download, web
from safety_worker.transport.meter import Meter

CONTENT = b"".join(b'{"prompt": "number %d"}\n' % number for number in range(20_000))
SECRET = "topsecret" * 3


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def site(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., FakeWeb]]:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    opened: list[FakeWeb] = []

    def build(**fields: object) -> FakeWeb:
        files = fields.pop("files", {"/data/x.jsonl": CONTENT})
        opened.append(FakeWeb(authority, files, **fields).__enter__())  # type: ignore[arg-type]
        return opened[-1]

    yield build
    for server in opened:
        server.__exit__()


def bring(workplace: Workplace, uri: str, token_env: str = "") -> bytes:
    (file,) = resolve_files(uri, workplace.context, token_env)
    assert file.name == "x.jsonl"
    return file.path.read_bytes()


def test_a_file_comes_with_its_name(site: Callable[..., FakeWeb], workplace: Workplace) -> None:
    server = site()
    assert bring(workplace, f"{server.url}/data/x.jsonl?version=3") == CONTENT


def test_a_file_comes_without_encryption_where_no_token_is_needed(
    site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    server = site(encrypted=False, redirects={"/moved/x.jsonl": "/data/x.jsonl"}, cuts=[70_000, 0])
    assert bring(workplace, f"{server.url}/moved/x.jsonl") == CONTENT
    assert {asked[1] for asked in server.asked} == {""}


def test_a_token_never_goes_in_the_clear(site: Callable[..., FakeWeb], workplace: Workplace) -> None:
    workplace.environment["TOKEN"] = SECRET
    server = site(encrypted=False)
    with pytest.raises(InputError, match=r"TokenInClear: .* use https://"):
        resolve_files(f"{server.url}/data/x.jsonl", workplace.context, "TOKEN")
    assert server.asked == []


def test_a_server_that_says_no_length_is_believed(site: Callable[..., FakeWeb], workplace: Workplace) -> None:
    server = site(says_length=False, etag="")
    assert bring(workplace, f"{server.url}/data/x.jsonl") == CONTENT


@pytest.mark.parametrize("etag", ['"v1"', "", 'W/"v1"'])
def test_a_download_that_breaks_off_goes_on(
    etag: str, site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    server = site(etag=etag, cuts=[1, 200_000, 150_000, 300_000])
    assert bring(workplace, f"{server.url}/data/x.jsonl") == CONTENT
    ranges = [asked[2] for asked in server.asked]
    assert any(ranges) == (etag == '"v1"'), "without a strong name for the content it is read anew"


def test_a_server_that_goes_on_elsewhere_spoils_no_file(
    site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    early = site(cuts=[1, 200_000], shift=-70_000)
    assert bring(workplace, f"{early.url}/data/x.jsonl") == CONTENT
    late = site(cuts=[1, 200_000], shift=7)
    with pytest.raises(InfrastructureError, match="began 7 bytes behind what it was asked for"):
        bring(workplace, f"{late.url}/data/x.jsonl?late")


def test_a_download_that_breaks_behind_its_last_byte_is_complete(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says no length cannot begin behind the end: it refuses the range (416)."""
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    asked: list[str] = []

    def broken() -> Iterator[bytes]:
        yield CONTENT
        raise httpx.ReadError("gone")

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("Range", ""))
        if asked[-1]:
            return httpx.Response(416)
        content = broken() if len(asked) == 2 else iter([CONTENT])
        return httpx.Response(200, content=content, headers={"ETag": '"v1"'})

    client = httpx.Client
    monkeypatch.setattr(web.httpx, "Client", lambda **_: client(transport=httpx.MockTransport(answer)))
    assert bring(workplace, "http://host/data/x.jsonl") == CONTENT
    assert asked == ["", "", f"bytes={len(CONTENT)}-", ""]


def test_a_redirect_to_what_is_no_web_server_is_wrong_input(
    site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    server = site(encrypted=False, redirects={"/x.jsonl": "ftp://localhost/x.jsonl"})
    with pytest.raises(InputError, match=r"NotFound: .* leads to an address that cannot be read"):
        bring(workplace, f"{server.url}/x.jsonl")


def test_what_a_server_packs_on_its_way_is_read_as_what_it_is(
    site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    server = site(files={"/data/x.jsonl": gzip.compress(CONTENT)}, headers={"Content-Encoding": "gzip"})
    data = open_dataset("x", Dataset(uri=f"{server.url}/data/x.jsonl"), workplace.context)
    assert sum(1 for _ in data.rows()) == 20_000


def test_a_server_that_asks_for_a_pause_is_given_it(
    site: Callable[..., FakeWeb], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    server = site(headers={"Retry-After": "240"})
    place = web.WebPlace(f"{server.url}/data/x.jsonl")
    (file,) = place.files()
    server.busy = [429, 503, 202]
    place.get([file], workplace.inputs, Meter())
    assert (workplace.inputs / "x.jsonl").read_bytes() == CONTENT
    assert pauses == [240.0] * 3
    server.headers["Retry-After"] = "86400"
    server.busy = [429]
    (workplace.inputs / "x.jsonl").unlink()
    place.get([file], workplace.inputs, Meter())
    assert pauses[3:] == [download.MAX_PAUSE_SECONDS]


def test_no_message_and_no_report_shows_a_password_or_a_signature(
    site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    server = site(status=404)
    uri = f"{server.url.replace('://', '://me:topsecret@')}/data/x.jsonl?sig=topsecret"
    with pytest.raises(InputError) as caught:
        resolve_files(uri, workplace.context)
    assert "topsecret" not in str(caught.value)
    server.status = 200
    data = open_dataset("x", Dataset(uri=uri), workplace.context)
    assert data.title == data.origin == f"{server.url}/data/x.jsonl"


def test_a_server_that_keeps_breaking_off_is_infrastructure(
    site: Callable[..., FakeWeb], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TRIES", 2)
    server = site(cuts=[1] * 20, files={"/data/x.jsonl": CONTENT[:50]}, etag="")
    with pytest.raises(InfrastructureError) as caught:
        bring(workplace, f"{server.url}/data/x.jsonl")
    assert caught.value.reason == "DownloadCutOff"


def test_without_a_name_for_its_content_a_file_is_never_put_together_of_two(
    site: Callable[..., FakeWeb], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = site(etag="", cuts=[1, 200_000]), CONTENT.replace(b"number", b"NUMBER")
    monkeypatch.setattr(download.time, "sleep", lambda _: server.files.update({"/data/x.jsonl": other}))
    assert bring(workplace, f"{server.url}/data/x.jsonl") == other
    server.files["/data/x.jsonl"] = CONTENT
    assert bring(workplace, f"{server.url}/data/x.jsonl") == CONTENT, "what is there already is not trusted"


@pytest.mark.parametrize("etag", ['"v1"', ""])
@pytest.mark.parametrize("says_length", [True, False])
def test_a_beginning_is_cut_at_its_last_record_however_connections_break(
    etag: str, says_length: bool, site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    server = site(etag=etag, says_length=says_length, cuts=[] if not says_length else [1, 100_001, 150_007])
    uri = f"{server.url}/data/x.jsonl"
    (file,) = resolve_files(uri, workplace.context, max_records=10_000)
    wanted = b"".join(CONTENT.splitlines(keepends=True)[:10_000])
    assert (file.path.read_bytes(), file.records, file.cut) == (wanted, 10_000, True)
    (whole,) = resolve_files(uri, workplace.context, max_records=20_000)
    assert (whole.path.read_bytes(), whole.cut) == (CONTENT, False)


def test_what_lies_behind_the_beginning_does_not_come(
    site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    server = site(files={"/x.jsonl": CONTENT * 100})
    (file,) = resolve_files(f"{server.url}/x.jsonl", workplace.context, max_records=3)
    assert file.path.read_bytes() == b"".join(CONTENT.splitlines(keepends=True)[:3])
    assert server.sent < 16 * 1024**2 < len(CONTENT) * 100, "two connections with their buffers"


def test_a_beginning_that_changes_while_it_is_read_is_infrastructure(
    site: Callable[..., FakeWeb], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = site(cuts=[1, 100_001])
    monkeypatch.setattr(download.time, "sleep", lambda _: setattr(server, "etag", '"v2"'))
    for max_records in (10_000, None):
        server.etag, server.cuts = '"v1"', [1, 100_001]
        with pytest.raises(InfrastructureError) as caught:
            resolve_files(f"{server.url}/data/x.jsonl", workplace.context, max_records=max_records)
        assert caught.value.reason == "ChangedWhileRead"


@pytest.mark.parametrize("ranges", [True, False])
def test_parquet_is_fetched_whole_from_a_server_that_cannot_begin_later(
    ranges: bool, site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt": [f"number {n}" for n in range(1000)]}), buffer, row_group_size=100)
    server = site(files={"/x.parquet": buffer.getvalue()}, ranges=ranges)
    source = Dataset(uri=f"{server.url}/x.parquet", max_records=120)
    data = open_dataset("x", source, workplace.context)
    assert [row.prompt for row in data.rows()] == [f"number {n}" for n in range(120)]
    assert data.cut == (source.uri,)
    assert (data.files[0].path.stat().st_size < len(buffer.getvalue())) == ranges


@pytest.mark.parametrize("same_host", [True, False])
def test_the_token_follows_no_redirect_to_another_host(
    same_host: bool, site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    workplace.environment["TOKEN"] = SECRET
    other = site()
    server = site(token=SECRET)
    target = server if same_host else other
    server.redirects["/x.jsonl"] = f"{target.url}/data/x.jsonl"
    assert bring(workplace, f"{server.url}/x.jsonl", "TOKEN") == CONTENT
    wanted = f"Bearer {SECRET}" if same_host else ""
    assert {asked[1] for asked in target.asked if asked[0] == "/data/x.jsonl"} == {wanted}
    assert {asked[1] for asked in server.asked} == {f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    ("fields", "path", "expected"),
    [
        ({"token": "another"}, "/data/x.jsonl", "NotReadable: .* was refused"),
        ({"status": 403}, "/data/x.jsonl", "NotReadable: .* was refused"),
        ({}, "/nothing/x.jsonl", "NotFound: .*HTTP 404"),
        ({"redirects": {"/a.jsonl": "http://127.0.0.1:1/a.jsonl"}}, "/a.jsonl", "UnsafeRedirect"),
        ({"redirects": {"/a.jsonl": "/a.jsonl"}}, "/a.jsonl", "NotFound: .* in a circle"),
        ({}, "/data/", "InvalidUri: .* not a folder"),
        ({"files": {"/a.exe": b""}}, "/a.exe", "UnknownFormat"),
        ({}, "/data/..?sig=topsecret", "NotFound"),
        ({}, "/data/%2e%2e", "NotFound"),
    ],
)
def test_what_a_person_must_mend_is_said_and_no_secret_shown(
    fields: dict[str, object], path: str, expected: str, site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    workplace.environment["TOKEN"] = SECRET
    server = site(**fields)
    with pytest.raises(InputError, match=expected) as caught:
        resolve_files(server.url + path, workplace.context, "TOKEN")
    assert "topsecret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_infrastructure(
    status: int, site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    with pytest.raises(InfrastructureError, match=f"HTTP {status}"):
        bring(workplace, f"{site(status=status).url}/data/x.jsonl")


def test_a_certificate_of_nobody_known_is_refused(
    site: Callable[..., FakeWeb], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = site()
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(InfrastructureError, match="ConnectError"):
        bring(workplace, f"{server.url}/data/x.jsonl")
    assert server.asked == []


@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_that_does_not_fit_is_given_up(
    says_length: bool, site: Callable[..., FakeWeb], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = site(says_length=says_length)
    full = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("safety_worker.transport.places.shutil.disk_usage", lambda _: full)
    with pytest.raises(InfrastructureError) as caught:
        bring(workplace, f"{server.url}/data/x.jsonl")
    assert caught.value.reason == "ArtifactStoreFull"
    assert web.MAX_REDIRECTS == 5


def test_what_a_server_calls_a_page_is_no_text_of_prompts(
    site: Callable[..., FakeWeb], workplace: Workplace
) -> None:
    files = {"/p.txt": b"Please log in\n", "/p.jsonl": b'{"prompt": "a"}\n'}
    server = site(files=files, media_type="text/html; charset=utf-8")
    with pytest.raises(InputError, match=r"WebPage: p\.txt .*text/html"):
        resolve_files(f"{server.url}/p.txt", workplace.context)
    assert len(resolve_files(f"{server.url}/p.jsonl", workplace.context)) == 1
