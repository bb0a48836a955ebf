"""Installs tfp_aevb."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "tfp_aevb" / "__init__.py").read_text())[1]

setup(
    name="tfp_aevb",
    version=VERSION,
    description="Amortised variational inference with TensorFlow Probability",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    author="The tfp_aevb authors",
    license="Apache-2.0",
    keywords=["variational inference", "variational autoencoder", "TensorFlow Probability"],
    packages=find_packages(include=["tfp_aevb", "tfp_aevb.*"]),
    package_data={
        "tfp_aevb": ["py.typed"],
        "tfp_aevb.runs.report": ["template.html", "explorer.js"],
        "tfp_aevb.data.frey_face": ["README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv"],
    },
    python_requires=">=3.11",
    install_requires=[
        "absl-py>=2.1,<3",
        "matplotlib>=3.9,<4",
        "mlxtend>=0.23.4,<0.26",
        "numpy>=2.0,<3",
        "requests>=2.31,<3",
        "scikit-learn>=1.6,<2",
        "scipy>=1.13,<2",
        # TensorFlow and its Keras 2 come in pairs of the same version.
        "tensorflow>=2.21,<2.22",
        "tf-keras>=2.21,<2.22",
        "tensorflow-probability>=0.25,<0.26",
        "tensorflow-datasets>=4.9.10,<5",
        "tensorboard>=2.20,<3",
        # Needed and not declared by TensorFlow Probability and TensorFlow Datasets.
        "setuptools>=65,<100",
        "importlib_resources>=6,<8",
    ],
    entry_points={"console_scripts": ["tfp-aevb = tfp_aevb.commands.main:run"]},
    extras_require={
        "test": [
            "arviz>=0.22,<0.24",
            "hypothesis>=6.148,<7",
            "pytest>=8,<10",
            "pytest-xdist>=3.6.1,<4",
        ],
        "dev": [
            "arviz>=0.22,<0.24",
            "hypothesis>=6.148,<7",
            "mypy>=1.13,<3",
            "pytest>=8,<10",
            "pytest-xdist>=3.6.1,<4",
            "ruff>=0.9,<1",
        ],
        "docs": ["pdoc>=15,<17"],
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        # Those with which the tests were run: docs/reliability.md.
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Information Analysis",
        "Typing :: Typed",
    ],
)
