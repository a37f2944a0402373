"""The downloader, against a server on this machine."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ecg_image_kit.errors import DownloadError, UsageError
from ecg_image_kit.record import STANDARD_LEADS, Record
from ecg_image_kit.sources import open_source
from ecg_image_kit.sources.download import Archive, fetch_ptbxl
from ecg_image_kit.sources.ptbxl import DATABASE

DAT = "records500/00000/00002_hr.dat"


@dataclass
class Server:
    """Files by path, served with ranges; ``cut``, ``spoil`` and ``fail`` make the next answers for a path go wrong."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # (path, Range header)
    cut: dict[str, int] = field(default_factory=dict)  # path -> bytes after which the connection ends, once
    spoil: dict[str, int] = field(default_factory=dict)  # path -> how many answers are changed
    fail: dict[str, int] = field(default_factory=dict)  # path -> how many answers are a 503
    ranges: bool = True
    url: str = ""

    def add_sums(self) -> None:
        sums = [
            f"{hashlib.sha256(data).hexdigest()} {path}"
            for path, data in self.files.items()
            if path != "SHA256SUMS.txt"
        ]
        self.files["SHA256SUMS.txt"] = ("\n".join(sums) + "\n").encode()

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, asked = self.path.removeprefix("/ptb-xl/"), self.headers.get("Range", "")
            server.asked.append((path, asked))
            if server.fail.get(path, 0) > 0:
                server.fail[path] -= 1
                return self.send_error(503)
            if path not in server.files:
                return self.send_error(404)
            data = server.files[path]
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
            if start and start >= len(data):
                return self.send_error(416)
            if server.spoil.get(path, 0) > 0:
                server.spoil[path] -= 1
                data = bytes(byte ^ 1 for byte in data)
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start : server.cut.pop(path, len(data))])

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Three records, as PhysioNet would serve them."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served, tree = Server(), tmp_path / "served"
    rows = ["ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_lr,filename_hr"]
    for k in (1, 2, 3):
        mv = np.random.default_rng(k).uniform(-1, 1, (12, 500)).astype(np.float32)
        Record(STANDARD_LEADS, mv, 500).write_wfdb(tree / f"records500/00000/{k:05d}_hr")
        stems = f"records100/00000/{k:05d}_lr,records500/00000/{k:05d}_hr"
        rows.append(f"{k},{k}.0,50.0,{k % 2},\"{{'NORM': 100.0}}\",{k},{stems}")
    (tree / DATABASE).write_text("\n".join(rows) + "\n")
    (tree / "scp_statements.csv").write_text(",diagnostic_class\nNORM,NORM\n")
    (tree / "LICENSE.txt").write_text("CC BY 4.0\n")
    served.files = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    served.add_sums()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(served)) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        served.url = f"http://127.0.0.1:{http.server_port}/ptb-xl/"
        yield served
        http.shutdown()
        thread.join()


@pytest.fixture
def archive(server: Server, tmp_path: Path) -> Archive:
    return Archive.open(server.url, tmp_path / "local", pause=0.01, timeout=5.0)


def test_only_what_is_asked_for_is_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PTBXL_URL", server.url)
    root = tmp_path / "local"
    source = open_source("ptbxl", root=root, download=True, sex="F", limit=1)
    assert list(source.names()) == ["00001"]
    assert source.load("00001").mv.shape == (12, 500)
    tables = ["SHA256SUMS.txt", DATABASE, "scp_statements.csv", "LICENSE.txt"]
    assert sorted(server.paths()) == sorted([*tables, "records500/00000/00001_hr.hea", "records500/00000/00001_hr.dat"])
    assert sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()) == sorted(server.paths())

    server.asked.clear()
    source = fetch_ptbxl(root, sex="F")
    assert list(source.names()) == ["00001", "00003"]
    assert sorted(server.paths()) == ["records500/00000/00003_hr.dat", "records500/00000/00003_hr.hea"]

    server.asked.clear()
    fetch_ptbxl(root, sex="F", url="http://127.0.0.1:9/")  # complete: no network needed
    assert server.asked == []


def test_an_interrupted_file_is_resumed(server, archive):
    server.cut[DAT] = 5000
    assert archive.fetch(DAT).read_bytes() == server.files[DAT]
    assert server.asked[-2:] == [(DAT, ""), (DAT, "bytes=5000-")]


def test_an_interrupted_run_is_resumed(server, archive):
    part = archive.folder / (DAT + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(server.files[DAT][:7000])
    assert archive.fetch(DAT).read_bytes() == server.files[DAT]
    assert server.asked[-1] == (DAT, "bytes=7000-") and not part.exists()


def test_a_server_without_ranges_starts_over(server, archive):
    server.ranges = False
    server.cut[DAT] = 5000
    assert archive.fetch(DAT).read_bytes() == server.files[DAT]


@pytest.mark.parametrize("left", [b"x" * 300, b"x" * 20000, b"x" * 12000])
def test_a_part_of_something_else_is_replaced(server, archive, left):
    """Shorter, longer, and exactly as long as the file."""
    part = archive.folder / (DAT + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    assert archive.fetch(DAT).read_bytes() == server.files[DAT]


def test_damage_on_the_way_is_noticed(server, archive):
    server.spoil[DAT] = 1
    assert archive.fetch(DAT).read_bytes() == server.files[DAT]
    assert server.paths().count(DAT) == 2
    (archive.folder / DAT).unlink()
    server.spoil[DAT] = 99
    with pytest.raises(DownloadError, match=r"00002_hr\.dat twice came with SHA-256"):
        archive.fetch(DAT)
    assert not list(archive.folder.rglob("*.part")) and not (archive.folder / DAT).exists()


def test_damage_on_disk_is_repaired(server, archive):
    target = archive.fetch(DAT)
    target.write_bytes(b"damaged")
    server.asked.clear()
    assert archive.fetch(DAT).read_bytes() == server.files[DAT]
    archive.fetch(DAT)
    assert server.paths() == [DAT]


def test_missing_and_unlisted_files(server, archive):
    del server.files[DAT]
    with pytest.raises(DownloadError, match=r"00002_hr\.dat: HTTP 404.*check the URL"):
        archive.fetch_all([DAT], "test")
    assert server.paths().count(DAT) == 1  # a 404 will not get better
    with pytest.raises(DownloadError, match=r"not listed in SHA256SUMS\.txt"):
        archive.fetch_all(["records500/00000/99999_hr.dat"], "test")
    with pytest.raises(DownloadError, match="expected one below the folder"):
        archive.fetch("../elsewhere")


def test_a_busy_server_is_asked_again(server, archive):
    server.fail[DAT] = 2
    assert archive.fetch(DAT).read_bytes() == server.files[DAT]
    server.fail["LICENSE.txt"] = 99
    with pytest.raises(DownloadError, match=r"no success in 4 tries \(HTTP 503"):
        archive.fetch("LICENSE.txt")


def test_without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:  # a port that nobody listens on
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        with pytest.raises(
            DownloadError, match=r"no success in 2 tries.*Check the network or proxy.*--root DIR.*--src samples"
        ):
            Archive.open(url, tmp_path, tries=2, pause=0.01)


def test_a_foreign_folder_is_left_alone(server, tmp_path):
    (tmp_path / DATABASE).write_text("ecg_id\n1\n")
    with pytest.raises(UsageError, match="holds another version of PTB-XL"):
        fetch_ptbxl(tmp_path, url=server.url)
    assert (tmp_path / DATABASE).read_text() == "ecg_id\n1\n"


def test_bad_requests(server, tmp_path):
    with pytest.raises(UsageError, match="expected one with https"):
        fetch_ptbxl(tmp_path, url="file:///etc")
    with pytest.raises(UsageError, match="expected 1 or more"):
        fetch_ptbxl(tmp_path, url=server.url, limit=0)
    with pytest.raises(UsageError, match="folds 9 removed 3"):
        fetch_ptbxl(tmp_path, url=server.url, folds=(9,))
