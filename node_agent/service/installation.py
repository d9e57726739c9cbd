"""The service's file on this machine: written, compared and removed; never another's."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from node_agent.domain.errors import ServiceFileForeign, ServiceUnsupported, StorageUnavailable
from node_agent.service.definition import LABEL, MARK, NAME, Manager, Service, text_for
from wire.atomic_file import write_atomically

_PUBLIC = 0o644


def manager_here() -> Manager:
    if sys.platform == "darwin":
        return Manager.LAUNCHD
    return Manager.WINDOWS if sys.platform == "win32" else Manager.SYSTEMD


@dataclass(frozen=True, slots=True)
class Installation:
    manager: Manager
    service: Service

    @property
    def file(self) -> Path:
        """ServiceUnsupported where no file makes a service."""
        of_user = self.service.of_user
        match self.manager:
            case Manager.SYSTEMD:
                folder = _own_config() / "systemd" / "user" if of_user else Path("/etc/systemd/system")
                return folder / f"{NAME}.service"
            case Manager.LAUNCHD:
                folder = Path.home() / "Library" / "LaunchAgents" if of_user else Path("/Library/LaunchDaemons")
                return folder / f"{LABEL}.plist"
            case Manager.WINDOWS:
                raise ServiceUnsupported(
                    "No service can be installed on this system.",
                    "See what can be done: arw-node-agent service print",
                )

    def install(self) -> bool:
        """False when it was there already, word for word. ServiceFileForeign, StorageUnavailable."""
        text = text_for(self.manager, self.service)
        if self._found() == text:
            return False
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, text.encode(), _PUBLIC)
        except OSError as error:
            raise self._unwritable(error) from error
        return True

    def uninstall(self) -> bool:
        """False when there was none. ServiceFileForeign, StorageUnavailable."""
        if self._found() is None:
            return False
        try:
            self.file.unlink()
        except OSError as error:
            raise self._unwritable(error) from error
        return True

    def next_steps(self, *, installed: bool) -> tuple[str, ...]:
        """What the service manager has still to be told."""
        if self.manager is Manager.LAUNCHD:
            domain = f"gui/{os.getuid()}" if self.service.of_user else "system"
            return (f"launchctl {'bootstrap' if installed else 'bootout'} {domain} {self.file}",)
        user = " --user" if self.service.of_user else ""
        if not installed:
            return (f"systemctl{user} daemon-reload", f"systemctl{user} stop {NAME}")
        linger = ("loginctl enable-linger   # or it starts only once you log in",) if user else ()
        return (f"systemctl{user} daemon-reload", f"systemctl{user} enable --now {NAME}", *linger)

    def _found(self) -> str | None:
        """The text of our file; None when there is no file."""
        try:
            text = self.file.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._foreign(str(error)) from error
        if MARK not in text or self.file.is_symlink():
            raise self._foreign("it was not written by this command")
        return text

    def _foreign(self, why: str) -> ServiceFileForeign:
        return ServiceFileForeign(
            f"{self.file} is left as it is: {why}.", "Move it away, then try again.", path=str(self.file)
        )

    def _unwritable(self, error: OSError) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self.file} cannot be changed: {error.strerror}.", "Run it as root, or give --user for your own service."
        )


def _own_config() -> Path:
    named = os.environ.get("XDG_CONFIG_HOME")
    return Path(named) if named else Path.home() / ".config"
