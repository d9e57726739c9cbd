"""How busy the multiprocessors are, where the ordinary figure is hidden: under MIG, on Hopper and newer."""

from __future__ import annotations

from typing import Any

import pynvml

from node_agent.hardware.nvidia.nvml import Fields


class StreamingMultiprocessors:
    """Compares two samples, so the first round knows nothing. Two samples a device are kept for the process's life."""

    def __init__(self) -> None:
        self._samples: dict[str, tuple[Any, Any]] = {}
        self._unable: set[str] = set()

    def percent(self, id_: str, handle: Any, whole: Any = None) -> float | None:
        """Of all multiprocessors, since the last call. `whole`: the GPU, when `handle` is a partition of it."""
        if id_ in self._unable:
            return None
        if id_ not in self._samples and not self._able(handle if whole is None else whole):
            self._unable.add(id_)
            return None
        fields = Fields(None)
        before, spare = self._samples.pop(id_, (None, None))
        fresh = spare or fields.read(pynvml.nvmlGpmSampleAlloc)
        if fresh is None or not _sampled(fresh, handle, whole):
            self._unable.add(id_)
            return None
        self._samples[id_] = (fresh, before)
        return None if before is None else _busy(before, fresh)

    @staticmethod
    def _able(handle: Any) -> bool:
        support = Fields(None).read(pynvml.nvmlGpmQueryDeviceSupport, handle)
        return support is not None and bool(support.isSupportedDevice)


def _sampled(sample: Any, handle: Any, whole: Any) -> bool:
    if whole is None:
        return Fields(None).read(pynvml.nvmlGpmSampleGet, handle, sample) is not None
    instance = Fields(handle)("nvmlDeviceGetGpuInstanceId")
    return Fields(None).read(pynvml.nvmlGpmMigSampleGet, whole, instance, sample) is not None


def _busy(before: Any, after: Any) -> float | None:
    wanted = pynvml.c_nvmlGpmMetricsGet_t()
    wanted.version, wanted.numMetrics = pynvml.NVML_GPM_METRICS_GET_VERSION, 1
    wanted.sample1, wanted.sample2 = before, after
    wanted.metrics[0].metricId = pynvml.NVML_GPM_METRIC_SM_UTIL
    got = Fields(None).read(pynvml.nvmlGpmMetricsGet, wanted)
    if got is None or got.metrics[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    return float(got.metrics[0].value)
