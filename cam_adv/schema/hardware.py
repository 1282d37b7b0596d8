"""`conf/hardware/`: devices and precision."""

from typing import Literal

from cam_adv.schema.fields import Count, Index, StrictModel


class HardwareSettings(StrictModel):
    """Devices, processes and precision; the comments in `conf/hardware/auto.yaml` describe each key."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    nodes: Count
    strategy: Literal["single", "ddp"]
    device: Literal["first", "idle"] | Index
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    compile: bool
    trainings: Literal["auto"] | Count
    workers: Count

    @property
    def processes(self) -> int:
        """Number of processes on all machines together."""
        return self.devices * self.nodes
