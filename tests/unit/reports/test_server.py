"""The report server gives complete reports of its own namespace and claim, and nothing else."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.reporting.test_attestation import signed

from safety_records.manifest import MANIFEST_NAME, Manifest, ManifestFile
from safety_records.report_files import (
    BLEND_HTML_NAME,
    BLEND_NAMES,
    REPORT_NAMES,
    ReportFolder,
    parse_folder,
    parse_report_uri,
)
from safety_reports import __main__, server
from safety_reports.__main__ import main
from safety_reports.files import NotThereError, OpenFile, open_report_file
from safety_reports.server import HEADERS, build_app
from safety_worker.artifacts.digests import build_manifest
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.stages import assemble

FOLDER = ReportFolder("safety-artifacts", "team", "safetyeval", "base", "0f9a8b7c", "report-0123456789abcdef")
HERE = "/" + "/".join(("safety-artifacts", *FOLDER.parts))


def complete(folder: Path) -> Path:
    """A report as the worker's own report stage leaves it, in any folder."""
    folder.mkdir(parents=True)
    signed(folder)
    atomic_write_text(folder / MANIFEST_NAME, build_manifest(folder, "hash").to_json())
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """An artifact store with a report, and things that are none of anybody's business."""
    root = tmp_path / "artifacts"
    complete(root.joinpath(*FOLDER.parts))
    complete(root / "other/safetyeval/base/0f9a8b7c/report-0123456789abcdef")
    (root / "team/models").mkdir()
    (root / "team/models/secret.safetensors").write_text("weights")
    return root


@pytest.fixture
async def client(store: Path) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(build_app(store, "team", "safety-artifacts"))) as found:
        yield found


async def test_every_file_of_a_report_is_given_as_it_is(client: TestClient, store: Path) -> None:
    folder = store.joinpath(*FOLDER.parts)
    for name in sorted(REPORT_NAMES | {MANIFEST_NAME}):
        answer = await client.get(f"{HERE}/{name}")
        assert answer.status == 200
        assert await answer.read() == (folder / name).read_bytes()
        assert HEADERS.items() <= dict(answer.headers).items()
        assert answer.headers["Content-Type"] == "application/octet-stream"


async def test_a_large_file_comes_whole(client: TestClient, store: Path) -> None:
    folder = store.joinpath(*FOLDER.parts)
    (folder / "report.json").write_bytes(os.urandom(3_000_000))
    atomic_write_text(folder / MANIFEST_NAME, build_manifest(folder).to_json())
    answer = await client.get(f"{HERE}/report.json")
    assert await answer.read() == (folder / "report.json").read_bytes()
    head = await client.head(f"{HERE}/report.json")
    assert (head.status, head.headers["Content-Length"]) == (200, "3000000")


async def test_a_blend_gives_its_page_and_card_but_no_row(client: TestClient, store: Path) -> None:
    parts = ("team", "safetyblend", "blend", "0f9a8b7c", "assemble-0123456789abcdef")
    folder = store.joinpath(*parts)
    folder.mkdir(parents=True)
    for name in (*BLEND_NAMES, "train.jsonl", "unkept.jsonl"):
        (folder / name).write_text(name)
    atomic_write_text(folder / MANIFEST_NAME, build_manifest(folder, "hash").to_json())
    here = "/" + "/".join(("safety-artifacts", *parts))
    given = {
        name: (await client.get(f"{here}/{name}")).status for name in [path.name for path in folder.iterdir()]
    }
    refused = {name for name, status in given.items() if status == 404}
    assert refused == {"train.jsonl", "unkept.jsonl"}
    assert assemble.HTML_NAME == BLEND_HTML_NAME
    assert {name for name, status in given.items() if status == 200} == {*BLEND_NAMES, MANIFEST_NAME}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/safety-artifacts",
        "/safety-artifacts/team/",
        HERE,
        f"{HERE}/",
        f"{HERE}/result.json",
        f"{HERE}/../{FOLDER.stage}/report.json",
        f"{HERE}/%2e%2e/{FOLDER.stage}/report.json",
        f"{HERE}/..%2f{FOLDER.stage}%2freport.json",
        f"{HERE}%2freport.json",
        "/safety-artifacts/other/safetyeval/base/0f9a8b7c/report-0123456789abcdef/report.json",
        "/safety-artifacts/team/../other/safetyeval/base/0f9a8b7c/report-0123456789abcdef/report.json",
        "/safety-artifacts/team/safetyeval/../safetyeval/base/0f9a8b7c/report-0123456789abcdef/report.json",
        "/safety-artifacts/team/models/secret.safetensors",
        "/safety-artifacts/team/safetyeval/base/0f9a8b7c/judge-0123456789abcdef/report.json",
        "/safety-artifacts/team/safetyblend/base/0f9a8b7c/report-0123456789abcdef/report.json",
        "/safety-artifacts/team/safetyeval/base/0f9a8b7c/assemble-0123456789abcdef/report.json",
        "/safety-artifacts/team/safetyfinetune/base/0f9a8b7c/report-0123456789abcdef/report.json",
        "/safety-artifacts/team/safetyeval/nobody/0f9a8b7c/report-0123456789abcdef/report.json",
        f"//etc/passwd{HERE}/report.json",
        f"{HERE}/report.json%00.html",
        f"{HERE}/REPORT.JSON",
        f"{HERE}/../../../../../other/safetyeval/base/0f9a8b7c/report-0123456789abcdef/report.json",
        "/safety-artifacts/" + "a" * 5000 + "/report.json",
    ],
)
async def test_nothing_else_is_there(client: TestClient, path: str) -> None:
    """Asked without a client that tidies paths."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith("HTTP/1.1 404")
    assert all(f"{name}: {value}" in answer for name, value in HEADERS.items())
    assert "weights" not in answer


def open_files() -> list[Path]:
    return [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


async def test_a_file_that_is_cut_off_while_it_is_sent_is_noticed_by_its_length(
    client: TestClient, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_longer(root: Path, folder: ReportFolder, name: str) -> OpenFile:
        found = open_report_file(root, folder, name)
        return found._replace(size=found.size + 1)

    monkeypatch.setattr(server, "open_report_file", open_longer)
    answer = await client.get(f"{HERE}/report.json")
    size = store.joinpath(*FOLDER.parts, "report.json").stat().st_size
    assert int(answer.headers["Content-Length"]) == size + 1
    with pytest.raises(ClientPayloadError):
        await asyncio.wait_for(answer.read(), 10)


async def test_several_readers_at_once_get_each_their_own_file_and_no_descriptor_is_lost(
    client: TestClient, store: Path
) -> None:
    folder = store.joinpath(*FOLDER.parts)
    (folder / "report.json").write_bytes(os.urandom(1_000_000))
    atomic_write_text(folder / MANIFEST_NAME, build_manifest(folder).to_json())
    names = sorted(REPORT_NAMES) * 4

    async def read(name: str) -> bytes:
        answer = await client.get(f"{HERE}/{name}")
        return await answer.read()

    found = await asyncio.gather(*map(read, names))
    assert found == [(folder / name).read_bytes() for name in names]
    assert not [path for path in open_files() if path.is_relative_to(store)]


def test_without_its_settings_or_a_free_port_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SAFETY_NAMESPACE", "team")
    monkeypatch.delenv("SAFETY_CLAIM", raising=False)
    assert main() == 2
    assert "set SAFETY_CLAIM" in caplog.text
    monkeypatch.setenv("SAFETY_CLAIM", "safety-artifacts")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("SAFETY_PORT", str(port))
        monkeypatch.setattr(__main__, "LOOPBACK", __main__.LOOPBACK[:1])
        assert main() == 2
        assert f"port {port} is not free" in caplog.text


async def test_a_report_on_another_claim_says_where_this_one_looks(client: TestClient) -> None:
    answer = await client.get(f"{HERE.replace('safety-artifacts', 'own-claim')}/report.json")
    assert answer.status == 404
    assert "the claim safety-artifacts" in await answer.text()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7:8080", ""])
async def test_a_web_page_that_points_its_name_here_gets_nothing(client: TestClient, host: str) -> None:
    answer = await client.get(f"{HERE}/report.json", headers={"Host": host})
    assert answer.status == 403
    assert HEADERS.items() <= dict(answer.headers).items()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_it_only_reads(client: TestClient, method: str) -> None:
    answer = await client.request(method, f"{HERE}/report.json")
    assert answer.status == 405


@pytest.mark.parametrize(
    "change", ["no manifest", "not listed", "cut off", "wrong manifest", "huge manifest"]
)
def test_a_report_that_is_not_complete_is_not_there(store: Path, change: str) -> None:
    folder = store.joinpath(*FOLDER.parts)
    manifest = folder / MANIFEST_NAME
    if change == "no manifest":
        manifest.unlink()
    elif change == "not listed":
        manifest.write_text(Manifest(files=(), digest="sha256:0").to_json())
    elif change == "cut off":
        (folder / "report.json").write_text("{")
    elif change == "wrong manifest":
        manifest.write_text("{}")
    else:
        manifest.write_text(" " * 2_000_000)
    with pytest.raises(NotThereError):
        open_report_file(store, FOLDER, "report.json")


@pytest.mark.parametrize("kind", ["file", "folder", "fifo"])
def test_links_and_pipes_that_a_worker_left_are_not_followed(store: Path, kind: str) -> None:
    folder = store.joinpath(*FOLDER.parts)
    page = folder / "report.html"
    if kind == "folder":
        folder.rename(store / "moved")
        folder.symlink_to(store / "moved")
    else:
        page.unlink()
        secret = store / "team/models/secret.safetensors"
        page.symlink_to(secret) if kind == "file" else os.mkfifo(page)
        listed = ManifestFile(path="report.html", size=secret.stat().st_size, sha256="0" * 64)
        (folder / MANIFEST_NAME).write_text(Manifest(files=(listed,), digest="sha256:0").to_json())
    with pytest.raises(NotThereError):
        open_report_file(store, FOLDER, "report.html")


def test_descriptors_are_not_lost(store: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("report.json", "report.html", "result.json", MANIFEST_NAME):
        try:
            os.close(open_report_file(store, FOLDER, name).descriptor)
        except NotThereError:
            continue
    nowhere = ReportFolder("c", "team", "safetyeval", "none", "run", "report-00000000")
    for _ in range(3):
        with pytest.raises(NotThereError):
            open_report_file(store, nowhere, "report.json")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_uri_of_a_status_names_its_folder() -> None:
    uri = "pvc://safety-artifacts/team/safetyeval/base/0f9a8b7c/report-0123456789abcdef"
    assert parse_report_uri(uri) == FOLDER
    assert FOLDER.url_path("report.json") == f"{HERE}/report.json"
    assert parse_report_uri(uri.removeprefix("pvc://")) is None
    assert parse_report_uri(uri + "/..") is None


@given(st.text(alphabet="ab./-%0\\\n~", max_size=60) | st.text(max_size=40))
def test_whatever_is_parsed_has_plain_parts(text: str) -> None:
    found = parse_folder(f"claim/team/safetyeval/{text}/0f9a8b7c/report-0123456789abcdef")
    assert found is None or all(
        part not in {"", ".", ".."} and "/" not in part and "\\" not in part for part in found.parts
    )
