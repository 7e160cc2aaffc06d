"""Processes and what they cost."""

import os
import signal
import subprocess
import time


class Cost:
    """Of one run: seconds, seconds of processors, KiB at most, KiB ten seconds after the load (servers only)."""

    def __init__(self, wall, cpu, peak, after=None):
        self.wall, self.cpu, self.peak, self.after = wall, cpu, peak, after


def environment(preload, extra=()):
    """What a program under test sees."""
    result = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "RUSTFLAGS", "CARGO_TARGET_DIR")}
    result.update(LC_ALL="C.UTF-8", LD_PRELOAD=preload)
    result.update(extra)
    return result


def command(arguments, preload, directory, extra=(), stdin=None):
    """Runs to its end. The peak is that of the largest process; CPU is of all of them."""
    with open(os.path.join(directory, "output"), "wb") as output:
        began = time.monotonic()
        child = subprocess.Popen(
            arguments, cwd=directory, env=environment(preload, extra), stdin=stdin or subprocess.DEVNULL, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        with open(os.path.join(directory, "output"), encoding="utf-8", errors="replace") as output:
            raise RuntimeError("%s: status %d\n%s" % (arguments[0], child.returncode, output.read()[-2000:]))
    # The kernel counts what a process was before its exec, which is this one.
    if usage.ru_maxrss <= status_field("self", "VmHWM"):
        raise RuntimeError("%s: its peak is hidden by that of this program" % arguments[0])
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def status_field(pid, field):
    """KiB, from /proc/PID/status."""
    with open("/proc/%s/status" % pid, encoding="utf-8") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


class Server:
    """A server and its children; ended by stop(), which tells what they cost, or by leaving a with statement."""

    def __init__(self, arguments, preload, directory, ended_by=signal.SIGTERM):
        with open(os.path.join(directory, "server.log"), "wb") as log:
            self.child = subprocess.Popen(
                arguments, cwd=directory, env=environment(preload), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.ended_by = ended_by
        self.peak = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.returncode is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()

    def maps(self):
        with open("/proc/%d/maps" % self.child.pid, encoding="utf-8") as file:
            return file.read()

    def wait_for(self, probe):
        """Until `probe`, a list of arguments, succeeds."""
        for _ in range(600):
            if subprocess.run(probe, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return
            if self.child.poll() is not None:
                raise RuntimeError("%s ended with status %s" % (self.child.args[0], self.child.returncode))
            time.sleep(0.05)
        raise RuntimeError("%s does not answer" % self.child.args[0])

    def resident(self):
        """KiB of all its processes, where shared pages count once (Pss)."""
        total = 0
        for pid in descendants(self.child.pid):
            try:
                with open("/proc/%d/smaps_rollup" % pid, encoding="utf-8") as file:
                    total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
            except (FileNotFoundError, ProcessLookupError):
                pass
        return total

    def during(self, load):
        """Starts `load`, a function that returns a Popen, and watches memory until that ends."""
        client = load()
        while True:
            self.peak = max(self.peak, self.resident())
            try:
                if client.wait(0.5) != 0:
                    raise RuntimeError("%s: status %d" % (client.args[0], client.returncode))
                break
            except subprocess.TimeoutExpired:
                pass
        self.peak = max(self.peak, self.resident())

    def stop(self):
        """Seconds of processors that it and its children took, all in all."""
        self.child.send_signal(self.ended_by)
        _, status, usage = os.wait4(self.child.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        if self.child.returncode != 0:
            raise RuntimeError("%s ended with status %d" % (self.child.args[0], self.child.returncode))
        return usage.ru_utime + usage.ru_stime


def descendants(root):
    """Of a process, with itself."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, encoding="utf-8", errors="replace") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found
