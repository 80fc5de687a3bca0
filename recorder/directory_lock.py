"""The advisory lock on a directory that one daemon owns, and the reasons why a directory is not usable.

The lock is flock(2) on LOCK_FILE in the directory. It belongs to the open file description, so the kernel releases it
when the process ends, however it ends: a file that is left after a crash locks nothing. All symbolic links to a
directory lead to the same lock. The file is not deleted on release: two processes could lock two files of one name.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

LOCK_FILE: Final = ".rokuga.lock"
LOCK_FILE_MODE: Final = 0o664
"""Writable by the group: a container may run with another uid of the same group next time."""

UNSUPPORTED: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""Errors of flock(2) on file systems without locks, such as NFS without its lock service."""

NO_UNNAMED_FILES: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
"""Errors of open(2) with O_TMPFILE if the file system or the kernel does not support it."""

OWNER: Final = re.compile(r"pid [0-9]{1,10} on [A-Za-z0-9_.:-]{1,255}")


class DirectoryFault(OSError):
    """A directory is not usable; the text is one line with its path, the errno and what is needed."""

    def __init__(self, number: int, path: str, reason: str) -> None:
        super().__init__(number, reason, path)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DirectoryInUse(DirectoryFault):
    """Another process has locked the directory; `owner` is `pid N on HOST`, if its lock file contains that."""

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(errno.EBUSY, path, f"already used by {owner}")
        self.owner = owner


class DirectoryLock:
    """The lock on one directory. Not thread-safe."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._descriptor: int | None = None
        self.is_exclusive = False
        """False if it is not held, or if the file system has no locks."""

    def acquire(self, mode: int = 0o777) -> None:
        """Create the directory, with parents, if it is missing, and lock it unless it is locked.

        Raises DirectoryInUse, or DirectoryFault for any other reason; then only the lock file has been touched.
        """
        if self.is_held:
            return
        self.release()
        try:
            _make_directory(self.directory, mode)
            self._descriptor = self._lock()
        except DirectoryFault:
            raise
        except OSError as error:
            raise explained(error, self.directory) from error
        _HELD.add(self)

    @property
    def is_held(self) -> bool:
        """Whether the lock is held on the directory that has the path now: it may have been replaced or mounted."""
        if self._descriptor is None:
            return False
        return _is_same(self._descriptor, self.directory / LOCK_FILE)

    def release(self) -> None:
        """Release the lock. Safe to repeat."""
        descriptor, self._descriptor = self._descriptor, None
        self.is_exclusive = False
        _HELD.discard(self)
        if descriptor is not None:
            with contextlib.suppress(OSError):  # another process must not read our pid meanwhile
                os.ftruncate(descriptor, 0)
            with contextlib.suppress(OSError):  # also for a forked child that has not closed it yet
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def check(self) -> None:
        """Lock the directory unless it is locked, and try to create a file in it. Raises as `acquire` does."""
        self.acquire()
        try:
            _try_to_write(self.directory)
        except OSError as error:
            raise explained(error, self.directory) from error

    def forget_in_child(self) -> None:
        """Close the descriptor that a child process inherited by fork: it would hold the lock after our end."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self) -> int:
        """Return the descriptor of the locked file. Raises OSError."""
        path = self.directory / LOCK_FILE
        while True:
            descriptor = _open(path)
            try:
                self.is_exclusive = self._flock(descriptor)
                if _is_same(descriptor, path):
                    _write_owner(descriptor)
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # the file was deleted meanwhile

    def _flock(self, descriptor: int) -> bool:
        """Lock the file; False if the file system has no locks."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise DirectoryInUse(str(self.directory), _read_owner(descriptor)) from None
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            return False
        return True


_HELD: "weakref.WeakSet[DirectoryLock]" = weakref.WeakSet()


def _forget_in_child() -> None:
    for lock in list(_HELD):
        lock.forget_in_child()


os.register_at_fork(after_in_child=_forget_in_child)


def aside_path(path: Path, wall_ns: int) -> Path:
    """Return the first free path to which a damaged file is renamed: `{name}.damaged-{date}`."""
    date = f"{datetime.fromtimestamp(wall_ns / 1e9, UTC):%Y%m%dT%H%M%SZ}"
    aside = path.with_name(f"{path.name}.damaged-{date}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{date}-{number}")
    return aside


def explained(error: OSError, directory: Path) -> DirectoryFault:
    """Return the error with a text that contains what is needed."""
    number = error.errno or errno.EIO
    path = str(error.filename or directory)
    reason = f"{os.strerror(number)} (errno {number})"
    if number in {errno.EACCES, errno.EPERM}:
        reason += f": uid {os.geteuid()}, gid {os.getegid()} needs to read and write it{_owner_of(Path(path))}"
    elif number == errno.EROFS:
        reason += ": it needs a file system that is mounted for writing"
    elif number in {errno.ENOTDIR, errno.EEXIST, errno.ELOOP}:
        reason += ": it needs to be a directory"
    return DirectoryFault(number, path, reason)


def _owner_of(path: Path) -> str:
    """Describe the owner of the path, or of its nearest ancestor that exists."""
    for each in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            found = each.stat()
            owner = f"uid {found.st_uid}, gid {found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}"
            return f"; {'it' if each == path else each} belongs to {owner}"
    return ""


def _make_directory(directory: Path, mode: int) -> None:
    try:
        directory.mkdir(mode=mode, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from None


def _open(path: Path) -> int:
    """Open the lock file; read-only if it belongs to another user. Raises OSError."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, LOCK_FILE_MODE)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EROFS} or not path.exists():
            raise
        return os.open(path, os.O_RDONLY | flags)
    with contextlib.suppress(OSError):  # it belongs to another user, and is writable
        os.fchmod(descriptor, LOCK_FILE_MODE)
    return descriptor


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), found)


def _write_owner(descriptor: int) -> None:
    """Write the owner into the lock file, if that is possible: the lock does not depend on it."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _read_owner(descriptor: int) -> str:
    with contextlib.suppress(OSError):
        found = OWNER.match(os.pread(descriptor, 300, 0).decode("ascii", "replace"))
        if found is not None:
            return found[0]
    return "another process"


def _try_to_write(directory: Path) -> None:
    """Create a file without a name, which nobody who watches the directory sees. Raises OSError."""
    try:
        os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno not in NO_UNNAMED_FILES or not directory.is_dir():
            raise
        if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory)) from None
