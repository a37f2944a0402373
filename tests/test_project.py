"""The project itself: which way imports point, what is public, what loads when, and what README promises."""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecg_image_kit

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ecg_image_kit", "digitizer", "synth")
# Modules that may import torch: networks, and what trains them.
TRAINING = (
    "train.py", "model.py", "export.py", "wavegan.py", "pulse2pulse.py", "image_gan.py", "fit_encoder.py",
    "fit_borders.py", "fit_nudges.py", "fitting.py",
)  # fmt: skip
COMMANDS = {"ecg-image-gen": "ecg_image_kit.cli", "ecg-digitize": "digitizer.cli"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}

QUICKSTART = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/python examples/quickstart.py"
TESTS = "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest"


def imports(module: str, source: str, is_package: bool = False) -> Iterator[str]:
    """Full names of all that a module's source imports, wherever it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".") if is_package else module.split(".")[:-1]
            base = parts[: len(parts) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "optional"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant):
                yield str(argument.value)


def imported(module: str) -> set[str]:
    path = MODULES[module]
    return set(imports(module, path.read_text("utf-8"), path.name == "__init__.py"))


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def run(code: str) -> str:
    """What ``code`` prints in a Python process of its own."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    ).stdout


def test_imports_are_found() -> None:
    source = "import a.b\ndef f():\n  from ..c import d\n  from . import e\n  optional('torch.nn')"
    assert set(imports("p.q.m", source)) == {"a.b", "p.c", "p.c.d", "p.q", "p.q.e", "torch.nn"}
    assert set(imports("p.q", "from .c import d", is_package=True)) == {"p.q.c", "p.q.c.d"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    path, names = MODULES[module], imported(module)
    if module == "ecg_image_kit.adapters":  # for torchvision's users; it loads what they have, when they ask for it
        names = [name for name in names if not within(name, "torch", "torchvision")]
    if within(module, "ecg_image_kit"):
        assert not [name for name in names if within(name, "digitizer", "synth", "torch", "torchvision")]
    else:
        other = "synth" if within(module, "digitizer") else "digitizer"
        assert not [name for name in names if within(name, other)]
    if path.name not in TRAINING:
        assert not [name for name in names if within(name, "torch", "torchvision", "segmentation_models_pytorch")]
    if path.name != "__main__.py":
        assert not [name for name in names if within(name, *COMMANDS.values())]
    assert not [name for name in names if within(name, "data", "tests", "benchmarks", "examples")]


def test_public_names() -> None:
    assert ecg_image_kit.__all__ == [
        "STANDARD_LEADS",
        "Box",
        "Chain",
        "EcgError",
        "Homography",
        "Layout",
        "Page",
        "PageError",
        "Pulse",
        "Record",
        "RecordError",
        "Strip",
        "Style",
        "Trace",
        "UsageError",
        "Warp",
        "open_source",
        "render",
    ]
    for name in ecg_image_kit.__all__:
        assert getattr(ecg_image_kit, name) is not None


def test_a_light_import() -> None:
    heavy = ("torch", "scipy.signal", "wfdb", "pandas", "matplotlib", "pydicom", "onnxruntime", "yaml")
    code = f"import ecg_image_kit, sys; print([name for name in {heavy} if name in sys.modules])"
    assert run(code).strip() == "[]"


def command_help(module: str) -> list[str]:
    """The lines of a command's ``--help``; the last one is its exit status and what it should not have loaded."""
    code = f"""
import sys
from {module} import main
try:
    status = main(["--help"])
except SystemExit as stop:
    status = stop.code
print(status, [name for name in ("torch", "wfdb", "pandas", "matplotlib") if name in sys.modules])
"""
    return run(code).splitlines()


@pytest.mark.parametrize(("command", "module"), COMMANDS.items())
def test_commands(command: str, module: str) -> None:
    assert f'"{command} = {module}:main"' in (ROOT / "setup.py").read_text("utf-8")
    lines = command_help(module)
    assert lines[0].startswith(f"usage: {command} ")
    assert lines[-1] in ("0 []", "None []")


def test_what_needs_torch_says_so() -> None:
    """Programs that train end with one line where there is no torch; imported, they raise ModuleNotFoundError."""
    code = """
import runpy, sys
sys.modules["torch"] = None
for name in (
    "digitizer.train", "digitizer.export", "digitizer.fit_borders", "digitizer.fit_nudges", "synth.train",
    "synth.export", "synth.fit_encoder",
):
    try:
        runpy.run_module(name, run_name="__main__")
    except SystemExit as stop:
        print(stop.code)
try:
    import digitizer.train
except ModuleNotFoundError as error:
    print(error, error.name)
"""
    lines = run(code).splitlines()
    hint = "this needs torch; install it with pip install 'ecg-image-kit[train]'"
    assert lines == [f"error: {hint}"] * 7 + [f"{hint} torch"]


def test_every_package_is_installed() -> None:
    """setup.py lists packages by hand: none is forgotten, and ``data`` is not among them."""
    text = (ROOT / "setup.py").read_text("utf-8")
    found = re.search(r"packages=(\[[^]]*\])", text)
    assert found is not None
    folders = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in MODULES.values()}
    assert set(ast.literal_eval(found[1])) == folders | {"ecg_image_kit.samples"}


def test_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme.count(QUICKSTART) == 1
    assert readme.count(TESTS) == 1
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), link
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme):
        assert (ROOT / picture).stat().st_size < 400_000
    for name in re.findall(r"`((?:ecg_image_kit|digitizer|synth|examples|benchmarks|docs|data)/[\w./-]*)`", readme):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize(("command", "module"), COMMANDS.items())
def test_flags_in_readme_exist(command: str, module: str) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    known = set(re.findall(r"--?[\w-]+", "\n".join(command_help(module))))
    lines = re.findall(rf"(?:\$ |`)(?:\.venv/bin/)?{command} ([^`\n#]*)", readme)
    assert lines
    assert {word for line in lines for word in line.split() if word.startswith("-")} <= known


def test_ci_runs_readmes_command() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    install, tests = TESTS.rsplit(" && ", 1)
    assert f'install="{install}"' in script
    assert f'tests="{tests}"' in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_licence_and_version() -> None:
    words = " ".join((ROOT / "LICENSE").read_text("utf-8").split())
    assert (
        hashlib.sha256(words.encode()).hexdigest() == "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645"
    )
    version = ecg_image_kit.__version__
    assert re.search(rf"^## \[?{re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)


def test_no_traces_of_a_machine() -> None:
    """Paths of the machine that something was made on, and hosts of package registries, belong in no file."""
    path = re.compile(r"(?<![\w.~$}-])/(?:work|tmp|root|home|Users)/\w")
    host = re.compile(r"pypi[.]org|python[h]osted|registry[.]npmjs|deb[.]debian")
    tops = [*PACKAGES, "tests", "examples", "benchmarks", "docs", "data", ".ci"]
    files = [*ROOT.glob("*.*"), *(file for top in tops for file in (ROOT / top).rglob("*"))]
    kinds = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".csv", ".txt", ".hea", ".in", ".cfg", ""}
    checked = 0
    for file in files:
        if file.is_file() and file.suffix in kinds and "__pycache__" not in file.parts:
            checked += 1
            for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), start=1):
                assert not path.search(line) and not host.search(line), f"{file.relative_to(ROOT)}:{number}: {line}"
    assert checked > 60


def test_modules_import() -> None:
    for module, path in MODULES.items():
        if path.name not in ("__main__.py", *TRAINING):
            importlib.import_module(module)
