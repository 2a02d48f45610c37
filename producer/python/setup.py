"""Builds the wheel: libstillhouse with the project's own CMake, and what it links, inside the package.

In a clone the C sources stand two folders up; an sdist carries them in source/. The library knows no
Python, so one wheel serves every interpreter of a platform.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE / "source" if (HERE / "source").exists() else HERE.parent.parent
# What the library is built from. workers/ is there for its CMakeLists.txt, which does without sources.
PARTS = [
    "CMakeLists.txt",
    "LICENSE",
    "common",
    "producer/CMakeLists.txt",
    "producer/client",
    "producer/enqueue",
    "producer/include",
    "producer/prompt",
    "producer/spool",
    "producer/stillhouse.map",
    "producer/stillhouse.pc.in",
    "workers/CMakeLists.txt",
]


def version() -> str:
    return re.search(r"project\(stillhouse VERSION ([\d.]+)", (SOURCE / "CMakeLists.txt").read_text())[1]


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True)


def linked(library: pathlib.Path) -> list[str]:
    """The names of the files that it needs and no system is sure to have."""
    said = subprocess.run(["ldd", library], check=True, capture_output=True, text=True).stdout
    needed = re.findall(r"^\s*(lib\S+) => ", said, re.MULTILINE)
    return [name for name in needed if not re.match(r"lib(c|m|dl|rt|pthread)\.so", name)]


def licence_of(library: str) -> pathlib.Path:
    """Debian keeps it beside the package that has the file."""
    said = subprocess.run(["dpkg-query", "-S", f"*/{library}"], capture_output=True, text=True).stdout
    for package in re.findall(r"^([^:,\s]+)[:,]", said, re.MULTILINE):
        found = pathlib.Path("/usr/share/doc", package, "copyright")
        if found.exists():
            return found
    raise FileNotFoundError(f"the licence of {library}: expected it in /usr/share/doc of a Debian package")


class WithLibrary(Distribution):
    def has_ext_modules(self) -> bool:
        return True


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        package = HERE / "src/stillhouse" if self.editable_mode else pathlib.Path(self.build_lib, "stillhouse")
        with tempfile.TemporaryDirectory() as build:
            run(
                "cmake",
                "-S",
                SOURCE,
                "-B",
                build,
                "-G",
                "Ninja",
                "-DCMAKE_BUILD_TYPE=Release",
                "-DBUILD_TESTING=OFF",
                "-DCMAKE_SHARED_LINKER_FLAGS=-s",
            )
            run("cmake", "--build", build, "--target", "stillhouse_shared")
            shutil.copy(f"{build}/lib/libstillhouse.so.0", package)
        (package / "licences").mkdir(exist_ok=True)
        shutil.copy(SOURCE / "LICENSE", package / "licences/libstillhouse")
        for library in linked(package / "libstillhouse.so.0"):
            shutil.copy(licence_of(library), package / "licences" / library)


class RepairedWheel(bdist_wheel):
    """auditwheel copies into the wheel what the library links, and names the oldest glibc it runs with."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]

    def run(self) -> None:
        super().run()
        made = pathlib.Path(self.distribution.dist_files[-1][2])
        run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", made.parent / "repaired", made)
        made.unlink()
        for repaired in (made.parent / "repaired").iterdir():
            repaired.rename(made.parent / repaired.name)
        (made.parent / "repaired").rmdir()


class WithSources(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        for part in PARTS:
            to = pathlib.Path(base_dir, "source", part)
            to.parent.mkdir(parents=True, exist_ok=True)
            if (SOURCE / part).is_dir():
                shutil.copytree(SOURCE / part, to)
            else:
                shutil.copy(SOURCE / part, to)


setup(
    version=version(),
    distclass=WithLibrary,
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": RepairedWheel, "sdist": WithSources},
)
