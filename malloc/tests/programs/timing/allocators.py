"""The allocators: which file to preload for each."""

import os
import re
import shutil
import subprocess

from . import loads


class Allocator:
    """A file to preload, and what to call it on the page."""

    def __init__(self, path, version):
        self.path, self.version = path, version


def find(library, peers, directory):
    """Name to Allocator, in the order of the page's columns; libraries are copied or built where every user can read them."""
    found = {"kmem": Allocator(readable(library, directory), "libkmem.so of this workspace")}
    # Named too, since a program may be linked with a malloc that otherwise goes before it (Debian's redis is, with jemalloc).
    libc = mapped("libc.so.6")
    found["glibc"] = Allocator(libc, "glibc " + os.confstr("CS_GNU_LIBC_VERSION").split()[-1])
    found["mimalloc"] = mimalloc(directory) or packaged("libmimalloc.so.2.0", "libmimalloc2.0")
    found["jemalloc"] = packaged("libjemalloc.so.2", "libjemalloc2")
    found["tcmalloc"] = packaged("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4")
    for peer in peers:
        name, _, path = peer.partition("=")
        found[name] = Allocator(readable(path, directory), os.path.basename(path))
    for name in [name for name, allocator in found.items() if allocator is None]:
        print("skip %s: not installed" % name, flush=True)
        del found[name]
    return found


def readable(path, directory):
    target = os.path.join(directory, os.path.basename(path))
    shutil.copy(path, target)
    os.chmod(target, 0o755)
    return target


def mapped(name):
    with open("/proc/self/maps", encoding="utf-8") as file:
        return next(line.split()[-1] for line in file if line.rstrip().endswith("/" + name))


def packaged(soname, package):
    listing = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"^\s*%s \(libc6,x86-64\) => (\S+)$" % re.escape(soname), listing, re.M)
    if not found:
        return None
    version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False).stdout
    return Allocator(os.path.realpath(found[1]), "%s %s" % (package, version))


def mimalloc(directory):
    """Version 3, with the options of its own release build."""
    try:
        source = os.path.join(loads.crate_source("libmimalloc-sys"), "c_src", "mimalloc", "v3")
        with open(os.path.join(source, "include", "mimalloc.h"), encoding="utf-8") as file:
            number = re.search(r"MI_MALLOC_VERSION\s+(\d+)", file.read())[1]
        target = os.path.join(directory, "libmimalloc.so.3")
        flags = "-O3 -DNDEBUG -fPIC -shared -fvisibility=hidden -ftls-model=initial-exec -fno-builtin-malloc -pthread".split()
        defines = ["-DMI_MALLOC_OVERRIDE", "-DMI_SHARED_LIB", "-DMI_SHARED_LIB_EXPORT"]
        main = os.path.join(source, "src", "static.c")
        subprocess.run(["cc", *flags, *defines, "-I", os.path.join(source, "include"), "-o", target, main], check=True)
        digits = (number[0], number[1:-2].lstrip("0") or "0", number[-2:].lstrip("0") or "0")
        return Allocator(target, "mimalloc %s.%s.%s, built" % digits)
    except (OSError, subprocess.CalledProcessError, StopIteration, TypeError) as error:
        print("mimalloc 3 cannot be built (%s)" % error, flush=True)
        return None
