"""The errors users see: each message gives the value, what was expected, and what to do about it."""


class EcgError(Exception):
    """Base of everything this toolbox raises on purpose; the commands print it and exit with 1."""


class UsageError(EcgError):
    """The request itself is wrong (unknown layout, bad range, missing root); the commands exit with 2."""


class RecordError(EcgError):
    """A record cannot be read, or does not hold what it should."""


class DownloadError(EcgError):
    """A file cannot be fetched from a public archive, or is not what the archive's checksums say."""


class PageError(EcgError):
    """A page or its truth file cannot be read or written."""


class ImplausibleAmplitude(UserWarning):
    """The leads' range suggests that the units were mistaken (for example microvolts read as millivolts)."""


def missing(error: ModuleNotFoundError, extra: str, module: str) -> BaseException:
    """What to raise where a package that only some need is not installed: a program (``python -m``) ends with it."""
    text = f"this needs {error.name}; install it with pip install 'ecg-image-kit[{extra}]'"
    return SystemExit(f"error: {text}") if module == "__main__" else ModuleNotFoundError(text, name=error.name)
