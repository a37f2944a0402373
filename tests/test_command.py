"""What all commands do with errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ecg_image_kit.command import command
from ecg_image_kit.errors import PageError, UsageError

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (UsageError("no such\nlayout"), 2, "error: no such layout"),
        (PageError("not an image"), 1, "error: not an image"),
        (PermissionError(13, "Permission denied"), 1, "error: [Errno 13] Permission denied"),
        (KeyboardInterrupt(), 130, "stopped early"),
        (KeyboardInterrupt("7 steps are kept"), 130, "stopped early: 7 steps are kept"),
    ],
)
def test_errors_become_a_line_and_a_status(
    raised: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command("stopped early")
    def main(argv: list[str]) -> int:
        raise raised

    assert main([]) == status
    assert capsys.readouterr() == ("", said + "\n")


def test_the_status_of_the_work_is_kept_and_bugs_are_not_hidden() -> None:
    @command()
    def main(status: int) -> int:
        return 10 // status

    assert main(5) == 2
    with pytest.raises(ZeroDivisionError):
        main(0)


@pytest.mark.parametrize("lines", [1, 100_000])
def test_nothing_is_said_where_nobody_reads_on(lines: int) -> None:
    code = (
        "import sys\n"
        "from ecg_image_kit.command import command\n"
        "@command()\n"
        "def main():\n"
        "    sys.stdin.readline()\n"  # until the reader has gone
        f"    print('line\\n' * {lines})\n"
        "    return 0\n"
        "sys.exit(main())"
    )
    done = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert done.stdin is not None
    assert done.stdout is not None
    assert done.stderr is not None
    done.stdout.close()
    done.stdin.close()
    assert (done.wait(60), done.stderr.read()) == (141, "")
    done.stderr.close()


def test_another_pipe_that_breaks_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """Only where nobody reads standard output there is nobody to tell."""

    @command()
    def main() -> int:
        raise BrokenPipeError(32, "Broken pipe")

    assert main() == 1
    assert "Broken pipe" in capsys.readouterr().err


def test_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    @command()
    def main() -> int:
        return 0

    monkeypatch.setattr(sys, "stdout", None)
    assert main() == 0
