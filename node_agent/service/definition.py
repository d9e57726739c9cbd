"""The agent as a service of the machine: what to run, and the text that each service manager wants."""

from __future__ import annotations

import plistlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MARK = "Written by `arw-node-agent service install`"
NAME = "arw-node-agent"
LABEL = "arw.node-agent"


class Manager(StrEnum):
    SYSTEMD = "systemd"
    LAUNCHD = "launchd"
    WINDOWS = "windows"


@dataclass(frozen=True, slots=True)
class Service:
    command: tuple[str, ...]
    """Absolute, with everything that `run` needs."""
    state: Path
    account: str = ""
    """Whom it runs as; empty for a service of one user, which runs as that user."""

    @property
    def of_user(self) -> bool:
        return not self.account


def text_for(manager: Manager, service: Service) -> str:
    match manager:
        case Manager.SYSTEMD:
            return _systemd(service)
        case Manager.LAUNCHD:
            return _launchd(service)
        case Manager.WINDOWS:
            return _windows(service)


def _systemd(service: Service) -> str:
    """What would break engines, or the agent's view of devices, is left out.

    That is PrivateDevices, ProtectHome, ProtectClock, ProtectKernelLogs, ProtectControlGroups, PrivateTmp,
    MemoryDenyWriteExecute and SystemCallFilter.
    """
    return f"""\
# {MARK}; it is written anew by the next one.
[Unit]
Description=Node agent: runs AI models on this machine for a control plane
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
{"" if service.of_user else f"User={service.account}" + chr(10)}ExecStart={_quoted(service.command)}
ExecReload=/bin/kill -HUP $MAINPID
# Only the agent is signalled: to stop, restart or upgrade it never stops a model.
KillMode=process
KillSignal=SIGTERM
TimeoutStopSec=30
Restart=on-failure
RestartSec=2
# 2: refused, with the reason in the journal; only a person can help.
RestartPreventExitStatus=2
# An engine that runs out of memory is the agent's to deal with.
OOMPolicy=continue
# The agent makes a control group for each engine, and stays in its own.
Delegate=yes
DelegateSubgroup=arw-agent
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
RestrictSUIDSGID=yes
LockPersonality=yes

[Install]
WantedBy={"default.target" if service.of_user else "multi-user.target"}
"""


def _quoted(words: Sequence[str]) -> str:
    """As systemd reads a command line: quotes, specifiers and variables made harmless."""
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(plain, escaped)
    return f'"{word}"'


def _launchd(service: Service) -> str:
    log = str(service.state / "node-agent.log")
    account = {} if service.of_user else {"UserName": service.account}
    document = {
        "Label": LABEL,
        "ProgramArguments": list(service.command),
        **account,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        # Only the agent is signalled: to stop, restart or upgrade it never stops a model.
        "AbandonProcessGroup": True,
        "ExitTimeOut": 30,
        "ProcessType": "Interactive",
        "SoftResourceLimits": {"NumberOfFiles": 65536},
        "Umask": 0o077,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    head, end, rest = plistlib.dumps(document, sort_keys=False).decode().partition("<plist")
    return f"{head}<!-- {MARK}; it is written anew by the next one. -->\n{end}{rest}"


def _windows(service: Service) -> str:
    command = " ".join(f'"{word}"' for word in service.command)
    return f"""\
The agent is not installed as a Windows service by this command; engines are supervised on Linux. In WSL 2 use
`arw-node-agent service install` there, with systemd switched on in /etc/wsl.conf:

  [boot]
  systemd=true

To start WSL with the machine, make a task (schtasks runs it as you, before anyone logs in):

  schtasks /create /tn arw-node-agent /sc onstart /tr "wsl.exe --exec /bin/true"

The agent's command: {command}
"""
