"""`conf/hardware/`: on what, and in which precision."""

from typing import Literal

from cam_adv.settings.section import Count, Index, Section


class HardwareSettings(Section):
    """Where the work is done; what the work is doesn't depend on it. See `conf/hardware/`."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    nodes: Count
    strategy: Literal["single", "ddp"]
    placement: Literal["first", "free"] | Index
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    compile: bool
    workers: Count

    @property
    def processes(self) -> int:
        """Over all machines."""
        return self.devices * self.nodes
