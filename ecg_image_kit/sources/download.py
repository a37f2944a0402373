"""Fetch PTB-XL from PhysioNet: only the records asked for, resumable, checked against the archive's SHA-256 sums."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DownloadError, UsageError
from .files import is_inside
from .ptbxl import DATABASE, PTBXL, STATEMENTS, default_root

BASE_URL = "https://physionet.org/files/ptb-xl/1.0.3/"  # $PTBXL_URL or ``url`` stand in for it: a mirror, a test
SUMS = "SHA256SUMS.txt"
_WORKERS = 4  # most of the time is spent waiting for an answer; more would be impolite


def fetch_ptbxl(
    root: str | os.PathLike[str] | None = None, *, limit: int | None = None, url: str | None = None, **filters: Any
) -> PTBXL:
    """Fetch PTB-XL's tables, then the first ``limit`` records that pass the filters (fields of ``PTBXL``).

    Files that are already right are not fetched again, so that a complete folder needs no network. ``root`` is by
    default $PTBXL_ROOT, else the user's cache. With a ``limit`` the source returned holds just those records.
    Raises UsageError for filters which leave nothing, DownloadError if the archive cannot be reached or a file
    stays different from its checksum.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}; expected 1 or more records.")
    folder = Path(root).expanduser() if root is not None else default_root()
    archive = Archive.open(url or os.environ.get("PTBXL_URL") or BASE_URL, folder)
    if (folder / DATABASE).is_file() and _sha256(folder / DATABASE) != archive.sums.get(DATABASE):
        raise UsageError(
            f"{folder} holds another version of PTB-XL than {archive.url}, or a changed one. Use another --root."
        )
    archive.fetch_all([DATABASE, STATEMENTS], "PTB-XL tables")
    if not (folder / "LICENSE.txt").is_file():
        archive.fetch("LICENSE.txt")
    source = PTBXL(folder, **filters)
    archive.fetch_all(source.files(limit), "PTB-XL records")
    if limit is None:
        return source
    return PTBXL(
        folder, fs=source.fs, ids=tuple(int(name) for name, _ in zip(source.names(), range(limit), strict=False))
    )


@dataclass(frozen=True)
class Archive:
    """A folder on a web server with a list of its files' SHA-256 sums, and the local folder that mirrors it.

    Attributes:
        url: of the folder, with a slash at its end.
        folder: the local one.
        sums: {path: sha256 in hex}; paths have forward slashes.
        tries: how often a connection that fails is tried.
        timeout: s without a byte until a connection counts as failed.
        pause: s before the second try; doubled before each further one.
    """

    url: str
    folder: Path
    sums: dict[str, str]
    tries: int = 4
    timeout: float = 30.0
    pause: float = 1.0

    @classmethod
    def open(cls, url: str, folder: Path, **settings: Any) -> Archive:
        """Read the checksums: those in the folder, for they belong to a fixed version, else the server's."""
        if urllib.parse.urlsplit(url).scheme not in ("https", "http"):
            raise UsageError(f"URL {url!r}; expected one with https://.")
        archive = cls(url.rstrip("/") + "/", folder, {}, **settings)
        if not (folder / SUMS).is_file():
            archive.fetch(SUMS)
        for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
            digest, _, path = line.strip().partition(" ")
            archive.sums[path.strip().removeprefix("*")] = digest.lower()
        return archive

    def fetch_all(self, paths: Iterable[str], what: str) -> None:
        """Fetch those of ``paths`` that are not here yet or are not right, a few at a time, with a progress bar."""
        from tqdm import tqdm

        needed = list(dict.fromkeys(paths))
        for path in needed:
            if path not in self.sums:
                raise DownloadError(
                    f"{path} is not listed in {SUMS} of {self.url}, so it cannot be checked. Is the URL right?"
                )
        pool = ThreadPoolExecutor(_WORKERS)
        try:
            jobs = [pool.submit(self.fetch, path) for path in needed]
            for job in tqdm(
                as_completed(jobs), what, total=len(jobs), unit="file", disable=None
            ):  # None: terminals only
                job.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def fetch(self, path: str) -> Path:
        """One file, checked. Raises DownloadError if it cannot be had, or twice differs from its checksum."""
        if not is_inside(path):
            raise DownloadError(f"{self.url}: path {path!r}; expected one below the folder.")
        target, expected = self.folder / path, self.sums.get(path)
        if target.is_file() and expected and _sha256(target) == expected:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        for _ in range(2):
            self._transfer(self.url + urllib.parse.quote(path), part)
            if expected in (None, found := _sha256(part)):
                os.replace(part, target)
                return target
            part.unlink()  # a resumed half may have belonged to another version: once more, from the beginning
        raise DownloadError(
            f"{self.url}{path} twice came with SHA-256 {found}; {SUMS} says {expected}. "
            "The connection or a proxy changes files, or the archive is being updated. Try later, or another network."
        )

    def _transfer(self, url: str, part: Path) -> None:
        """Bring ``part`` to its full length, continuing where it ends."""
        for attempt in range(self.tries):
            try:
                return self._attempt(url, part)
            except urllib.error.HTTPError as error:
                error.close()
                reason = f"HTTP {error.code} {error.reason}"
                if error.code == 416:  # the part is longer than the file: not its beginning
                    part.unlink(missing_ok=True)
                elif error.code < 500 and error.code not in (408, 429):
                    raise DownloadError(
                        f"{url}: {reason}. The file is not there, or not public; check the URL and version."
                    ) from error
            except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and cut connections among them
                reason = str(getattr(error, "reason", error)) or type(error).__name__
            if attempt + 1 < self.tries:
                time.sleep(self.pause * 2**attempt)
        raise DownloadError(
            f"{url}: no success in {self.tries} tries ({reason}). Check the network or proxy; running again resumes. "
            "Without network: --root DIR for a copy of PTB-XL, or --src samples."
        )

    def _attempt(self, url: str, part: Path) -> None:
        done = part.stat().st_size if part.is_file() else 0
        request = urllib.request.Request(
            url, headers={"User-Agent": "ecg-image-kit", **({"Range": f"bytes={done}-"} if done else {})}
        )
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:
            resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")
            length = answer.headers.get("Content-Length")
            with part.open("ab" if resumed else "wb") as stream:
                before = stream.tell()
                while chunk := answer.read(1 << 16):
                    stream.write(chunk)
                received = stream.tell() - before
        if length is not None and received < int(length):  # http.client ends a short answer without complaint
            raise http.client.IncompleteRead(b"", int(length) - received)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
