"""Make PyPI's CUDA build of torch work without CUDA libraries, for images that have no GPU.

Called by the Containerfile, and for a virtual environment on the host, after an install that left
the CUDA packages out::

    uv run --no-project --with pyelftools --with ziglang python torch_cpu_only.py SITE_PACKAGES

``libtorch_python.so`` is linked to ``libtorch_cuda.so``, cuDNN, cuFile and NCCL, so it does not load
without them, although on a machine without a GPU none of their functions is ever called. This script
replaces ``libtorch_cuda.so`` (470 MB) by a stand-in of a few kB that defines exactly the symbols that
the rest of torch looks up in these libraries. Functions abort with a message. Class descriptions
(``typeinfo``) are real ones, because torch registers its Python classes by them. torch then reports
``torch.cuda.is_available() == False`` as it does on any machine without a driver.

It leaves ``torch/lib/libtorch_cpu.so`` and everything that computes untouched, and it is idempotent.
"""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

STAND_IN = "libtorch_cuda.so"
"""The library that is replaced, and the stand-in's own name."""

ALSO_PROVIDES = ("libcudnn.so.9", "libcufile.so.0", "libnccl.so.2")
"""Names that libtorch_python.so also asks the loader for: links to the stand-in."""

VENDOR_PREFIXES = ("cudnn", "cuFile", "nccl")
"""Their functions begin so, followed by a capital letter."""

UNUSED = ("libtorch_cuda_linalg.so", "libtorch_nvshmem.so", "libcaffe2_nvrtc.so")
"""Loaded by CUDA code only."""

IMPORT_TIME = """
static void *hook[8];
void *_ZN4c10d15get_gil_checkerEv(void) { return hook; }
extern void *_ZTVN4c10d16ProcessGroupNCCL7OptionsE[];
extern unsigned long malloc_usable_size(void *);
extern void *memset(void *, int, unsigned long);
void _ZN4c10d16ProcessGroupNCCL7OptionsC1Eb(void **self) {
  memset(self, 0, malloc_usable_size(self));
  self[0] = &_ZTVN4c10d16ProcessGroupNCCL7OptionsE[2]; }
"""
"""The two functions that torch calls while it is imported: one gives the place where Python leaves a
callback for NCCL, one makes the NCCL options that are the default of an argument (empty here)."""

MARK = "safety_torch_cpu_only"
"""A symbol that tells a stand-in from the original."""


def undefined_symbols(library: Path) -> set[str]:
    """Names that the library leaves to others to define."""
    with library.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".dynsym")
        return {s.name for s in table.iter_symbols() if s["st_shndx"] == "SHN_UNDEF"}


def defined_symbols(library: Path) -> set[str]:
    """Names that the library defines."""
    with library.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".dynsym")
        return {s.name for s in table.iter_symbols() if s["st_shndx"] != "SHN_UNDEF"}


def is_vendor_function(name: str) -> bool:
    """Whether the name belongs to one of the vendor's libraries that the stand-in also replaces."""
    return any(name.startswith(p) and name[len(p) : len(p) + 1].isupper() for p in VENDOR_PREFIXES)


def stand_in_source(names: set[str]) -> str:
    """C source that defines each of the (mangled) names."""
    lines = [
        "extern int dprintf(int, const char *, ...);",
        "extern void abort(void) __attribute__((noreturn));",
        "extern void *_ZTVN10__cxxabiv117__class_type_infoE[];",
        "static void missing(const char *name) {",
        '  dprintf(2, "torch: %s needs CUDA, which this image leaves out\\n", name); abort(); }',
        f"int {MARK} = 1;",
    ]
    for name in sorted(names):
        if name.startswith("_ZTI"):
            lines.append(
                f"void *{name}[2] = {{&_ZTVN10__cxxabiv117__class_type_infoE[2], (void *)"
                f'"{name.removeprefix("_ZTI")}"}};'
            )
        elif name.startswith(("_ZTV", "_ZTS")):
            lines.append(f"void *{name}[128];")
        elif name not in IMPORT_TIME:
            lines.append(f'void {name}(void) {{ missing("{name}"); }}')
    return "\n".join([*lines, IMPORT_TIME])


def compile_library(source: str, output: Path) -> None:
    """Compile C source to a shared library.

    Raises
    ------
    subprocess.CalledProcessError
        If the compiler refuses it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stand_in.c"
        path.write_text(source)
        compiler = [sys.executable, "-m", "ziglang", "cc", "-target", f"{platform.machine()}-linux-gnu.2.28"]
        linking = [f"-Wl,-soname,{STAND_IN}", "-Wl,-z,undefs"]
        options = ["-shared", "-fPIC", "-O1", "-w", "-s", "-fno-builtin", "-nodefaultlibs", *linking]
        built = Path(folder) / STAND_IN
        subprocess.run([*compiler, *options, str(path), "-o", str(built)], check=True)
        output.unlink(missing_ok=True)  # never write through: an installer may have hard-linked its cache
        output.write_bytes(built.read_bytes())


def replace_cuda(library_folder: Path) -> int:
    """Replace the CUDA part of torch in ``torch/lib``.

    Returns
    -------
    int
        Number of symbols in the stand-in; 0 if it was already in place.
    """
    original = library_folder / STAND_IN
    if MARK in defined_symbols(original):
        return 0
    removed = [p for p in library_folder.glob("*.so") if p.name in {STAND_IN, *UNUSED}]
    provided = set().union(*(defined_symbols(p) for p in removed))
    kept = [p for p in library_folder.glob("*.so") if p not in removed]
    wanted = set().union(*(undefined_symbols(p) for p in kept))
    elsewhere = set().union(*(defined_symbols(p) for p in kept))
    needed = {n for n in wanted - elsewhere if n in provided or is_vendor_function(n)}
    compile_library(stand_in_source(needed), original)
    for name in UNUSED:
        (library_folder / name).unlink(missing_ok=True)
    for name in ALSO_PROVIDES:
        link = library_folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(STAND_IN)
    return len(needed)


def main() -> int:
    """Entry point."""
    (site_packages,) = sys.argv[1:]
    count = replace_cuda(Path(site_packages) / "torch" / "lib")
    sys.stdout.write(f"torch: CUDA replaced by a stand-in of {count} symbols\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
