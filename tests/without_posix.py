"""Python as it is on Windows, as far as Linux can play it: topfive finds less in `os`, no `fcntl`, and stricter files.

As `sitecustomize.py` in a folder of PYTHONPATH it does so in every process of Python, those that topfive starts too.
What other libraries need here (`os.uname`, `fcntl`, /proc) is hidden from topfive alone.
"""

import builtins
import errno
import fcntl
import multiprocessing
import multiprocessing.context
import os
import shutil
import signal
import sys
import tempfile
import types
import warnings

GONE = {
    *("uname", "pread", "pwrite", "preadv", "pwritev", "register_at_fork", "sysconf", "sched_getaffinity", "mkfifo"),
    *("fork", "forkpty", "getuid", "geteuid", "killpg", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW"),
    *("O_SYNC", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGALRM", "pthread_kill"),
}
MODULES = ("fcntl", "resource", "termios", "pwd", "grp", "posix")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
IMPORT = builtins.__import__
REAL = {name: getattr(os, name) for name in ("open", "rename", "replace", "unlink", "remove", "readlink", "listdir")}


def ours() -> bool:
    """Whether topfive called what called this, maybe by pathlib."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("pathlib", __name__):
        frame = frame.f_back
    return (frame.f_globals.get("__package__") or "").partition(".")[0] == "topfive"


def locking(handle: int, mode: int, count: int) -> None:
    """msvcrt's, of one byte."""
    assert (mode, count) == (msvcrt.LK_NBLCK, 1) and os.lseek(
        handle, 0, os.SEEK_CUR
    ) > 1000  # what is locked is not read
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


msvcrt = types.ModuleType("msvcrt")
msvcrt.LK_NBLCK, msvcrt.locking = 2, locking
POORER = {"msvcrt": msvcrt}  # modules as topfive finds them


def importing(name, globals=None, locals=None, fromlist=(), level=0):  # type: ignore[no-untyped-def]
    if level == 0 and ((globals or {}).get("__package__") or "").partition(".")[0] == "topfive":
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in POORER:
            return POORER[name]
    return IMPORT(name, globals, locals, fromlist, level)


def audited(event: str, arguments: tuple[object, ...]) -> None:
    if event not in ("open", "os.mkdir", "os.rename"):
        return
    path = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
    if event == "open" and path.startswith("/proc/") and ours():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    new = os.fsdecode(arguments[1]) if event == "os.rename" else path  # type: ignore[arg-type]
    if (event != "open" or arguments[2] & WRITING) and set(os.path.basename(new)) & set('<>:"|?*\\'):  # type: ignore[operator]
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), new)


def shut(path: object) -> None:
    """Raises: PermissionError where this process has the file open."""
    where = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
    for handle in REAL["listdir"]("/proc/self/fd"):
        try:
            if REAL["readlink"](f"/proc/self/fd/{handle}") == where and not os.path.isdir(where):
                raise PermissionError(errno.EACCES, "the file is open in this process", where)
        except FileNotFoundError:
            pass


def renamed(old, new, **more):  # type: ignore[no-untyped-def]
    if os.path.exists(new):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), old, None, new)
    return replaced(old, new, **more)


def replaced(old, new, **more):  # type: ignore[no-untyped-def]
    for path in (old, new):
        shut(path)
    return REAL["replace"](old, new, **more)


def unlinked(path, **more):  # type: ignore[no-untyped-def]
    if not more:
        shut(path)
    return REAL["unlink"](path, **more)


def opened(path, flags, mode=0o777, **more):  # type: ignore[no-untyped-def]
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return REAL["open"](path, flags, mode, **more)


def hide() -> None:
    """From now on, in this process."""
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # which opens folders
    os.rename, os.replace, os.unlink, os.remove, os.open = renamed, replaced, unlinked, unlinked, opened
    for module in (os, signal):
        POORER[module.__name__] = types.ModuleType(module.__name__)
        vars(POORER[module.__name__]).update({name: kept for name, kept in vars(module).items() if name not in GONE})
    contexts = multiprocessing.context._concrete_contexts  # type: ignore[attr-defined]
    for kind in ("fork", "forkserver"):
        contexts.pop(kind)
    multiprocessing.set_start_method("spawn", force=True)
    multiprocessing.get_all_start_methods = lambda: ["spawn"]
    # where the default encoding is another one, what is read without saying which is misread; what Linux tells is ASCII
    warnings.filterwarnings("error", category=EncodingWarning, module="topfive")
    warnings.filterwarnings(
        "ignore", category=EncodingWarning, module=r"topfive\.engine\.benchmark\.(machine|memory|threads)"
    )
    builtins.__import__ = importing
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # as on Windows: it has a name until it is closed
    sys.addaudithook(audited)


if __name__ == "sitecustomize":
    hide()
