"""Energy meters of this machine: what devices have drawn since they were counted, by their own counters.

NVIDIA devices through NVML (package nvidia-ml-py), processors and memory through RAPL (package zeus). A difference of
two readings is a measurement; where there is no meter the error says so and joules stay predicted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from comptroller.errors import UnsupportedError


class HardwareMeter(Protocol):
    """A counter of joules that only grows. source: as rows of the books name it."""

    source: str

    def read_j(self) -> float:
        """Joules counted so far."""
        ...


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """What meters counted between two moments (s since 1970), joules by source."""

    start_s: float
    end_s: float
    j: dict[str, float]


class NvmlMeter:
    """All NVIDIA devices of this machine, or those of some indices.

    Raises:
        UnsupportedError: nvidia-ml-py or a driver is missing, or a device counts no energy (before Volta).
    """

    source = "nvml"

    def __init__(self, *indices: int) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise UnsupportedError("NVML needs nvidia-ml-py: pip install 'comptroller-lab[meters]'") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            chosen = indices or range(pynvml.nvmlDeviceGetCount())
            self._devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in chosen]
            self.read_j()
        except pynvml.NVMLError as error:
            raise UnsupportedError(f"no NVIDIA device counts energy here: {error}") from error

    def read_j(self) -> float:
        """Joules since the driver was loaded."""
        counts = (self._nvml.nvmlDeviceGetTotalEnergyConsumption(device) for device in self._devices)
        return float(sum(counts)) / 1e3


class RaplMeter:
    """The processors of this machine and, where it is counted, their memory.

    Raises:
        UnsupportedError: zeus is missing, the processor has no RAPL, or its counters may not be read.
    """

    source = "rapl"

    def __init__(self) -> None:
        try:
            from zeus.device.cpu import get_cpus
            from zeus.device.exception import ZeusBaseCPUError
        except ImportError as error:
            raise UnsupportedError("RAPL needs zeus: pip install 'comptroller-lab[meters]'") from error
        try:
            self._cpus = get_cpus().cpus
            self.read_j()
        except (ZeusBaseCPUError, OSError) as error:
            raise UnsupportedError(f"no processor counts energy here: {error}") from error

    def read_j(self) -> float:
        """Joules since the counters were first read; their overflow is followed."""
        counted = [cpu.get_total_energy_consumption() for cpu in self._cpus]
        return float(sum(item.cpu_mj + (item.dram_mj or 0.0) for item in counted)) / 1e3


class MeterWindow:
    """Reads some meters at its beginning and end: `with Window(Nvml()) as window: ...`, then `window.reading`."""

    def __init__(self, *meters: HardwareMeter) -> None:
        self._meters = meters

    def __enter__(self) -> MeterWindow:
        self._start_s, self._before = time.time(), [meter.read_j() for meter in self._meters]
        return self

    def __exit__(self, *_: object) -> None:
        counted = [meter.read_j() - before for meter, before in zip(self._meters, self._before, strict=True)]
        sources = (meter.source for meter in self._meters)
        self.reading = EnergyReading(self._start_s, time.time(), dict(zip(sources, counted, strict=True)))
