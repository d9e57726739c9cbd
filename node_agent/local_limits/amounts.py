"""What people write for memory, devices and hours. Each reader raises ValueError with the end of a sentence."""

from __future__ import annotations

import re

from node_agent.domain.hours import DAYS, WEEK_MINUTES, Window

_UNITS = {"": 1, "B": 1, **{f"{p}iB": 1 << 10 * n for n, p in enumerate("KMGT", 1)}}
_UNITS |= {f"{p}B": 1000**n for n, p in enumerate("kMGT", 1)}
_AMOUNT = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*|%)")
_PCI = re.compile(r"(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_UUID = re.compile(r"[a-z]+-[0-9a-z][0-9a-z/-]{3,}")
_WINDOW = re.compile(r"(?P<days>\S+)\s+(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)")
_DAY_MINUTES = 24 * 60
_ALL = 100.0

KINDS = (
    "cpu",
    "gpu_cuda",
    "gpu_rocm",
    "gpu_metal",
    "gpu_vulkan",
    "npu_directml",
    "npu_coreml",
    "npu_other",
    "other",
)


def memory(text: str, whole: int) -> int:
    """Bytes of "24GiB" or "75%"; `whole`: the memory of this machine, 0 when it is not known."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or not (found["unit"] == "%" or found["unit"] in _UNITS):
        raise ValueError('must be an amount such as "24GiB" or "75%"')
    number = float(found["number"])
    if found["unit"] == "%" and number > _ALL:
        raise ValueError("must be at most 100%")
    if found["unit"] == "%" and not whole:
        raise ValueError("must be an amount such as 24GiB: the memory of this machine is not known")
    size = int(whole * number / _ALL if found["unit"] == "%" else number * _UNITS[found["unit"]])
    if not size:
        raise ValueError("must be more than nothing; max_runtimes = 0 keeps everything out")
    return size


def device(text: str) -> str:
    """In lower case; a PCI address in full."""
    name = text.strip().lower()
    if _PCI.fullmatch(name):
        domain, _, rest = name.rpartition(":")[0].rpartition(":")
        return f"{(domain or '0000')[-4:]}:{rest}:{name.rpartition(':')[2]}"
    if name in KINDS or _UUID.fullmatch(name):
        return name
    raise ValueError(f"does not know {text!r}; use a kind ({', '.join(KINDS)}), a UUID or a PCI address")


def windows(text: str) -> tuple[Window, ...]:
    """Of "mon-fri 18:00-08:00": one for each day on which it begins. An end before the start is the next day's."""
    found = _WINDOW.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError('must be days and times such as "mon-fri 18:00-08:00"')
    start, end = _minutes(found["start"]), _minutes(found["end"])
    length = (end - start) % _DAY_MINUTES or _DAY_MINUTES
    return tuple(_window(day, start, length) for day in _days(found["days"]))


def _window(day: int, start: int, length: int) -> Window:
    begin = day * _DAY_MINUTES + start
    end = begin + length
    return Window(begin % WEEK_MINUTES, end if end <= WEEK_MINUTES else end - WEEK_MINUTES)


def _minutes(text: str) -> int:
    hours, minutes = (int(part) for part in text.split(":"))
    total = hours * 60 + minutes
    if total > _DAY_MINUTES or minutes >= 60:  # noqa: PLR2004 - of an hour
        raise ValueError(f"does not know the time {text}")
    return total


def _days(text: str) -> list[int]:
    days: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin, end = _day(first), _day(last or first)
        days += [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
    return days


def _day(text: str) -> int:
    if text not in DAYS:
        raise ValueError(f"does not know the day {text!r}; use {', '.join(DAYS)}")
    return DAYS.index(text)
