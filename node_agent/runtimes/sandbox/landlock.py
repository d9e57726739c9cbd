"""Landlock by its three system calls. Standard library only: the shim's child applies it to itself.

Numbers and structures: linux/landlock.h. What an older kernel does not know is left out.
"""

# pathlib would cost more time than all of this; the rights are bits of one word.

from __future__ import annotations

import ctypes
import errno
import os
import stat

FILES, NETWORK, SCOPE = "landlock-files", "landlock-network", "landlock-scope"
SINCE = {FILES: 1, NETWORK: 4, SCOPE: 6}
"""The first version of the interface that offers each layer."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_RULE, _PORT_RULE = 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _MAKE_CHAR, _MAKE_BLOCK = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_FIRST_VERSION = (1 << 13) - 1
_LATER = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE))
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_BIND, _CONNECT = 1 << 0, 1 << 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1

READ = _READ_FILE | _READ_DIR
USE = READ | _EXECUTE
CHANGE = ((1 << 15) - 1) & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK)
"""Everything below a folder but running what lies there, and making devices."""
DEVICE = READ | _WRITE_FILE | _TRUNCATE | _IOCTL_DEVICE

_libc = ctypes.CDLL(None, use_errno=True)


class _Handled(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scope", ctypes.c_uint64))


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _PortRule(ctypes.Structure):
    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


def version() -> tuple[int, str]:
    """The version of the interface; 0 and why when there is none."""
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG), ""
    except OSError as error:
        off = error.errno == errno.EOPNOTSUPP
        return 0, "Landlock is switched off in this kernel" if off else "this kernel has no Landlock"


class Ruleset:
    """Rules on the layers named, made while their paths can still be opened. OSError when the kernel refuses."""

    def __init__(self, layers: frozenset[str], known: int) -> None:
        self._files = _files_of(known) if FILES in layers else 0
        self._network = (_BIND | _CONNECT) if NETWORK in layers else 0
        scope = (_ABSTRACT_SOCKETS | _SIGNALS) if SCOPE in layers else 0
        handled = _Handled(self._files, self._network, scope)
        size = 24 if known >= SINCE[SCOPE] else 16 if known >= SINCE[NETWORK] else 8
        self._handle = _call(_CREATE_RULESET, ctypes.byref(handled), size, 0)

    def allow(self, path: str, rights: int) -> None:
        """On this file, or all below this folder. What is not there needs no rule."""
        if not self._files:
            return
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            whole = stat.S_ISDIR(os.fstat(handle).st_mode)
            allowed = rights & self._files & (~0 if whole else _ON_FILES)
            _call(_ADD_RULE, self._handle, _PATH_RULE, ctypes.byref(_PathRule(allowed, handle)), 0)
        finally:
            os.close(handle)

    def allow_port(self, port: int) -> None:
        if self._network:
            rule = _PortRule(self._network, port)
            _call(_ADD_RULE, self._handle, _PORT_RULE, ctypes.byref(rule), 0)

    def enforce(self) -> None:
        """From here on this process and all its children. Needs no_new_privs."""
        _call(_RESTRICT_SELF, self._handle, 0)
        os.close(self._handle)


def _files_of(known: int) -> int:
    return _FIRST_VERSION | sum(right for since, right in _LATER if known >= since)


def _call(number: int, *arguments: object) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer: int = _libc.syscall(ctypes.c_long(number), *words)
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer
