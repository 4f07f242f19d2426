"""Runs one check in a process of its own: a task as JSON on stdin, a verdict as JSON on stdout.

Nothing of the package is imported: it runs by its path, without the environment. The check sees the interpreter and the
system's libraries, read only, and an empty folder; no network, no /proc, no process but its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import resource
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 2, 4, 4096, 16384, 1 << 18, 2
MOUNT_ATTR = 1 | 2 | 4
"""MOUNT_ATTR_RDONLY, _NOSUID and _NODEV of mount_setattr(2)."""
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, CAPABILITY_VERSION = 1, 38, 0x20080522
NOBODY = 65534
LONE_UID = 0x6F000000
"""First of the user ids of checks that a gateway of root starts, one for each process id: nobody else's, so that the
limit on processes counts only theirs. systemd and subordinate ids end below it."""
ROOM = Path("/proc")
"""Where the new root is built: a folder that every Linux has and that nothing of the new root is taken from."""
FOLDER, SOURCE = "/check_folder", "/check_source.py"
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
FOLDER_BYTES = 16 * 2**20
"""What the empty folder holds: sources and outputs of a test, not data. At twice it each check may take twice the
memory beside its own limit, for the folder is kept there."""
MEMORY = f"size={FOLDER_BYTES},nr_inodes=1000,mode="

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Walls first, then limits, then the check."""
    task = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the check prints is no answer
    try:
        isolate(task.get("source", ""))
    except OSError as error:
        if "source" in task:
            out.write(json.dumps({"unfit": str(error)}))
            return
        limit(task, 0)  # patterns and schemas are data, which code of our own reads
    else:
        limit(task, FOLDER_BYTES)
    out.write(json.dumps(answer(task)))
    out.flush()
    os._exit(0)  # the first process of its space: whatever it started ends with it


def limit(task: dict[str, Any], file_bytes: int) -> None:
    """Seconds of the processor, memory, files and processes."""
    limits = {
        resource.RLIMIT_CPU: int(task["seconds"]) + 1,
        resource.RLIMIT_AS: task["memory_bytes"],
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NPROC: task["processes"],
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))


def isolate(source: str) -> None:
    """Goes on as the first process of a space of its own, without rights, network, files and other processes.

    Raises:
        OSError: the system does not offer it; says which step.
    """
    root, user, group = os.geteuid() == 0, os.geteuid(), os.getegid()
    spaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC
    if sys.platform != "linux" or platform.machine() not in SYS_PIVOT_ROOT:
        raise OSError(f"no namespaces are known on {sys.platform} {platform.machine()}")
    _do("unshare", libc.unshare(spaces if root else spaces | CLONE_NEWUSER))
    if not root:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1", encoding="ascii")
    _build(source)
    outer = os.getpid()
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
    if root:
        lone = LONE_UID + outer
        os.setgroups([])
        os.setresgid(lone, lone, lone)
        os.setresuid(lone, lone, lone)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _do("capset", libc.capset(header, none))
    _do("prctl", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _do("prctl", libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def _build(source: str) -> None:
    """A root that holds the interpreter, libraries and programs, read only, three devices, and an empty folder."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", str(ROOM), "tmpfs", MS_NOSUID | MS_NODEV, MEMORY + "755")
    for path in dict.fromkeys(("/usr", "/lib", "/lib64", "/bin", sys.base_prefix, sys.prefix)):
        _show(Path(path))
    for device in DEVICES:
        place = ROOM / device[1:]
        place.parent.mkdir(exist_ok=True)
        place.touch()
        _mount(device, str(place), None, MS_BIND)
    if source:
        (ROOM / SOURCE[1:]).write_text(source, encoding="utf-8")
    folder = ROOM / FOLDER[1:]
    folder.mkdir()
    _mount("tmpfs", str(folder), "tmpfs", MS_NOSUID | MS_NODEV, MEMORY + "777")
    _read_only(str(ROOM), 0)
    os.chdir(ROOM)
    _do("pivot_root", libc.syscall(SYS_PIVOT_ROOT[platform.machine()], b".", b"."))
    _do("umount", libc.umount2(b".", MNT_DETACH))
    os.chdir(FOLDER)


def _show(path: Path) -> None:
    """Binds a folder, read only, where nothing that is shown holds it already; a link stays a link."""
    place = ROOM / str(path)[1:]
    if path == Path("/") or not path.exists() or place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and path.parent == Path("/"):
        place.symlink_to(os.readlink(path))
        return
    place.mkdir()
    _mount(str(path), str(place), None, MS_BIND | MS_REC)
    _read_only(str(place), AT_RECURSIVE)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    words = [word if word is None else word.encode() for word in (source, target, kind)]
    _do(f"mount {target}", libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None))


def _read_only(path: str, flags: int) -> None:
    wanted = (ctypes.c_uint64 * 4)(MOUNT_ATTR, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    done = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, ctypes.byref(wanted), size)
    _do(f"mount_setattr {path}", done)


def _do(what: str, result: int) -> None:
    if result != 0:
        raise OSError(f"{what}: {os.strerror(ctypes.get_errno())}")


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """The score of a task, or what is wrong in the request that brought it."""
    content = task["content"]
    if "regex" in task:
        return _matches(content, task["regex"])
    if "json_schema" in task:
        return _holds(content, task["json_schema"])
    if "source" in task:
        return {"score": float(runpy.run_path(SOURCE)[task["function"]](content, **task["arguments"]))}
    return {"score": 1.0}


def _matches(content: str, pattern: str) -> dict[str, Any]:
    """Whether a pattern is found in a text."""
    try:
        return {"score": float(re.search(pattern, content) is not None)}
    except re.error as error:
        return {"fault": f"is no regular expression: {error}", "kind": "regex"}


def _holds(content: str, schema: Any) -> dict[str, Any]:
    """Whether a text is JSON that holds to a schema, in which alone its references are looked up."""
    from jsonschema import SchemaError, ValidationError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        kind = validator_for(schema)
        kind.check_schema(schema)
        kind(schema, registry=Registry()).validate(json.loads(content))
    except SchemaError as error:
        return {"fault": f"is no schema: {error.message}"}
    except Unresolvable as error:
        return {"fault": f"refers to what it does not hold: {error}"}
    except re.error as error:
        return {"fault": f"has a pattern that is none: {error}"}
    except RecursionError:
        return {"fault": "refers to itself without end"}
    except (ValidationError, ValueError):
        return {"score": 0.0}
    return {"score": 1.0}


if __name__ == "__main__":
    main()
