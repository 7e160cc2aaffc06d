"""What is timed. Each load is a function (preload, directory) that returns a Cost; ready(name) says what is missing for it."""

import functools
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import time

from .measure import Cost, Server, command

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
SETTLE = 10


def load_file(name):
    return os.path.join(HERE, "loads", name)


def python(preload, directory):
    return command(["/usr/bin/python3", load_file("churn.py"), "6"], preload, directory)


def python_on_malloc(preload, directory):
    return command(["/usr/bin/python3", load_file("churn.py"), "4"], preload, directory, {"PYTHONMALLOC": "malloc"})


@functools.cache
def crate_source(name):
    """Where cargo has the source of a crate that the workspace depends on."""
    arguments = ["cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", os.path.join(ROOT, "Cargo.toml")]
    packages = json.loads(subprocess.run(arguments, capture_output=True, check=True).stdout)["packages"]
    return os.path.dirname(next(package["manifest_path"] for package in packages if package["name"] == name))


def gxx(preload, directory):
    source = os.path.join(crate_source("libtcmalloc-sys"), "c_src", "abseil-cpp")
    files = [os.path.join(source, "absl", name) for name in ("strings/cord.cc", "status/status.cc", "log/internal/log_message.cc")]
    return command(["g++", "-std=c++17", "-O2", "-g", "-I", source, "-c", *files], preload, directory)


def cargo(preload, directory):
    """The distribution's cargo and rustc, whose malloc can be replaced: those of rust-lang.org bring their own."""
    shutil.copytree(load_file("counter"), os.path.join(directory, "crate"))
    home = os.path.join(directory, "home")
    os.mkdir(home)
    shutil.copy(load_file("counter/cargo-home.toml"), os.path.join(home, "config.toml"))
    extra = {"CARGO_HOME": home, "HOME": home, "RUSTC": "/usr/bin/rustc", "CARGO_INCREMENTAL": "0"}
    manifest = os.path.join(directory, "crate", "Cargo.toml")
    return command(["/usr/bin/cargo", "build", "-q", "--offline", "-j", "2", "--manifest-path", manifest], preload, directory, extra)


def sqlite(preload, directory):
    script = os.path.join(directory, "script")
    with open(load_file("orders.sql"), encoding="utf-8") as source, open(script, "w", encoding="utf-8") as target:
        target.write("PRAGMA synchronous = OFF;\n" + source.read())
    with open(script, "rb") as stdin:
        return command(["sqlite3", "-bail", "orders.db"], preload, directory, stdin=stdin)


def quiet(arguments, **more):
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


def loaded(server, preload):
    if os.path.realpath(preload) not in server.maps():
        raise RuntimeError("the server runs without %s" % preload)


def redis(preload, directory):
    """Filled, read and changed by 30 clients; then two of three keys are deleted, and ten seconds pass."""
    at = os.path.join(directory, "socket")
    cli = ["redis-cli", "-s", at]
    benchmark = ["redis-benchmark", "-q", "-s", at, "-c", "30", "-P", "8"]
    arguments = ["redis-server", "--port", "0", "--unixsocket", at, "--dir", directory, "--save", "", "--appendonly", "no"]
    with Server(arguments, preload, directory) as server:
        server.wait_for(cli + ["ping"])
        loaded(server, preload)
        began = time.monotonic()
        for size in ("48", "600", "200"):
            server.during(lambda: quiet(benchmark + ["-t", "set", "-n", "300000", "-r", "150000", "-d", size]))
        server.during(lambda: quiet(benchmark + ["-t", "get,incr,lpush,rpop,sadd,hset,zadd,mset", "-n", "200000", "-r", "50000", "-d", "80"]))
        delete = "for _, key in ipairs(redis.call('keys', '*')) do if redis.sha1hex(key):byte() % 3 ~= 0 then redis.call('del', key) end end"
        server.during(lambda: quiet(cli + ["eval", delete, "0"]))
        wall = time.monotonic() - began
        time.sleep(SETTLE)
        after = server.resident()
        return Cost(wall, server.stop(), server.peak, after)


def postgres_bin():
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    return os.path.dirname(max(found)) if found else ""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def postgres(preload, directory):
    """pgbench with 8 clients, then 4 sessions with queries, which stay open while ten seconds pass."""
    programs, port, data = postgres_bin(), free_port(), os.path.join(directory, "data")
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
    os.chmod(directory, 0o777)
    address = ["-h", "127.0.0.1", "-p", port, "-U", "tester"]
    initdb = [os.path.join(programs, "initdb"), "-D", data, "-U", "tester", "-A", "trust", "--no-sync", "--locale=C.UTF-8"]
    subprocess.run(user + initdb, check=True, stdout=subprocess.DEVNULL, cwd=directory)
    settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=64MB", "port=" + port)
    arguments = user + [os.path.join(programs, "postgres"), "-D", data] + [word for setting in settings for word in ("-c", setting)]
    pgbench = [os.path.join(programs, "pgbench"), *address]
    with open(load_file("session.sql"), encoding="utf-8") as file:
        queries = file.read()
    # SIGINT is its fast shutdown.
    with Server(arguments, preload, directory, signal.SIGINT) as server:
        server.wait_for([os.path.join(programs, "pg_isready"), *address, "-q"])
        loaded(server, preload)
        began = time.monotonic()
        server.during(lambda: quiet(pgbench + ["-i", "-s", "2", "-q", "postgres"]))
        server.during(lambda: quiet(pgbench + ["-n", "-c", "8", "-j", "2", "-t", "600", "--random-seed=1", "postgres"]))
        server.during(lambda: quiet(pgbench + ["-n", "-S", "-C", "-c", "4", "-t", "100", "--random-seed=1", "postgres"]))
        sessions = [
            subprocess.Popen(["psql", *address, "-X", "-q", "-A", "-t", "postgres"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        for session in sessions:
            session.stdin.write(queries + "\\echo done\n")
            session.stdin.flush()
        for session in sessions:
            for line in session.stdout:
                server.peak = max(server.peak, server.resident())
                if line == "done\n":
                    break
        wall = time.monotonic() - began
        time.sleep(SETTLE)
        after = server.resident()
        for session in sessions:
            session.communicate()
        return Cost(wall, server.stop(), server.peak, after)


LOADS = {
    "redis": redis,
    "postgres": postgres,
    "python": python,
    "python on malloc": python_on_malloc,
    "g++": gxx,
    "cargo build": cargo,
    "sqlite": sqlite,
}

NEEDS = {
    "redis": ["redis-server", "redis-benchmark", "redis-cli"],
    "postgres": ["psql"],
    "python": ["/usr/bin/python3"],
    "python on malloc": ["/usr/bin/python3"],
    "g++": ["g++", "cargo"],
    "cargo build": ["/usr/bin/cargo", "/usr/bin/rustc"],
    "sqlite": ["sqlite3"],
}


def missing(name):
    """The first thing that a load needs and that is not there, or None."""
    for need in NEEDS[name]:
        if not shutil.which(need):
            return need
    if name == "postgres" and not postgres_bin():
        return "postgres"
    if name == "cargo build" and not glob.glob("/usr/share/cargo/registry/aho-corasick-*"):
        return "librust-regex+default-dev"
    return None
