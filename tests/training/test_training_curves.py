"""The events of a training: curves against epochs, and a text for the metrics on test images."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cam_adv.reports.training_losses import training_losses
from cam_adv.training.curves import EpochLogger


def test_metrics_are_curves_against_epochs_and_those_on_test_images_a_text(tmp_path: Path) -> None:
    logger = EpochLogger(tmp_path, name="", version="", default_hp_metric=False)
    for epoch, loss in enumerate((0.5, 0.25)):
        logger.log_metrics({"train/loss": loss, "epoch": float(epoch)}, step=17 * (epoch + 1))
    logger.log_metrics({"test/accuracy": 0.96875, "epoch": 2.0}, step=34)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["scalars"] == ["train/loss"]
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    (text,) = events.Tensors("on test images/text_summary")
    assert text.tensor_proto.string_val[0].decode().splitlines()[-1] == "| accuracy | 0.9688 |"
    assert training_losses(tmp_path) == {"train/loss": ([1, 2], [0.5, 0.25])}
