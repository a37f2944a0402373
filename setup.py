"""What is installed. Packages are listed by hand, so that ``data`` never becomes an importable top-level module."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "ecg_image_kit" / "__init__.py").read_text("utf-8"), re.M)
assert VERSION, "ecg_image_kit/__init__.py has no __version__"

FORMATS = ["pydicom>=3.0", "defusedxml>=0.7", "pypdfium2>=4.30", "pillow-heif>=0.16"]
TRAIN = [
    "torch>=2.6",
    "torchvision>=0.21",
    "segmentation-models-pytorch>=0.5",
    "albumentations>=1.4.24",
    "onnx>=1.16",
    *FORMATS,
]
DEV = [
    "pytest>=8",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    "ruff>=0.9",
    "mypy>=1.14",
    "pre-commit>=3.5",
    "pycocotools>=2.0.7",
    "types-PyYAML",
    "types-tqdm",
    "types-defusedxml",
    *TRAIN,
]

setup(
    name="ecg-image-kit",
    version=VERSION[1],
    description="ECG records to images of paper ECGs with exact truth, and images of paper ECGs back to records",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["ECG", "electrocardiogram", "synthetic data", "digitization", "PTB-XL", "WFDB"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=[
        "ecg_image_kit",
        "ecg_image_kit.effects",
        "ecg_image_kit.export",
        "ecg_image_kit.sources",
        "ecg_image_kit.samples",
        "digitizer",
        "synth",
    ],
    # The bundled records are data only: data/samples in a checkout, ecg_image_kit/samples when installed.
    package_dir={"ecg_image_kit.samples": "data/samples"},
    package_data={
        "ecg_image_kit": ["py.typed"],
        "ecg_image_kit.samples": ["*.csv", "**/*.hea", "**/*.dat"],
        "digitizer": ["py.typed", "weights/*.onnx", "weights/*.json"],
        "synth": ["py.typed", "weights/*.onnx", "weights/*.json", "weights/*.npz"],
    },
    include_package_data=False,
    install_requires=[
        "numpy>=1.25",
        "scipy>=1.11",
        "opencv-python-headless>=4.8",
        "pillow>=10.1",
        "wfdb>=4.1",
        "onnxruntime>=1.17",
        "tqdm>=4.65",
        "pyyaml>=6.0",
    ],
    extras_require={"formats": FORMATS, "train": TRAIN, "dev": DEV},
    entry_points={
        "console_scripts": ["ecg-image-gen = ecg_image_kit.cli:main", "ecg-digitize = digitizer.cli:main"],
    },
)
