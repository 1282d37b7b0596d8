"""What a notebook shows of an attack: the picture, its words in HTML, the table of pandas."""

import csv
import io
import re
import sys
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from conftest import SMALL_DPI
from hand_made_evaluation import COUNT, NAMES, attack_evaluation
from PIL import Image

from cam_adv.errors import UserError
from cam_adv.metrics.evaluation import AttackEvaluation
from cam_adv.plots import save
from cam_adv.reports.files import write_results
from cam_adv.reports.shown_attack import ShownAttack

STARTS = ["mean", "real_image"]
VOID = ("img",)


def shown(evaluation: AttackEvaluation | None = None, class_names: tuple[str, ...] = NAMES) -> ShownAttack:
    return ShownAttack("type1", evaluation or attack_evaluation(), STARTS, class_names)


class Document(HTMLParser):
    """Reads HTML in which every element is closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            self.images.append(dict(attrs))
        else:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def picture(evaluation: AttackEvaluation) -> Image.Image:
    return Image.open(io.BytesIO(shown(evaluation)._repr_png_())).convert("RGB")


def areas(evaluation: AttackEvaluation) -> dict[int, int]:
    """Multiple of 51 → the pixels of this gray level in the picture; levels of edges and letters are left out."""
    colours = picture(evaluation).getcolors(1 << 24)
    grays = {red: count for count, (red, green, blue) in colours if red == green == blue and red < 255}
    return {level: grays[level] for level in range(0, 255, 51) if grays.get(level, 0) > 1000}


def plain(x: float, x_adv: float) -> AttackEvaluation:
    """Five pairs of constant images."""
    evaluation = attack_evaluation()
    like = evaluation.result.x
    result = replace(evaluation.result, x=torch.full_like(like, x), x_adv=torch.full_like(like, x_adv))
    return replace(evaluation, result=result)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(save, "DPI", SMALL_DPI)


class TestPicture:
    def test_images_have_their_brightness(self) -> None:
        """An x of 0.2 and an x' of 0.6 take equal areas; G(z) is not drawn for an attack without a residual."""
        found = areas(replace(plain(0.2, 0.6), generated=torch.full((COUNT, 1, 8, 12), 0.4)))
        assert found.keys() == {51, 153}
        assert found[51] == pytest.approx(found[153], rel=0.05)

    def test_generated_image_and_residual_are_drawn_where_there_is_a_residual(self) -> None:
        """G(z) of 0.4 and x' of 0.5: the residual of 0.1 is drawn as 0.5 + 3·0.1."""
        evaluation = plain(0.2, 0.5)
        result = replace(evaluation.result, residual_path=torch.zeros(COUNT, 3, 1, 8, 12))
        found = areas(replace(evaluation, result=result, generated=torch.full((COUNT, 1, 8, 12), 0.4)))
        assert found.keys() == {51, 102, 204}
        assert list(found.values()) == pytest.approx([found[51]] * 3, rel=0.05)

    def test_map_adds_a_row(self) -> None:
        evaluation = attack_evaluation()
        cam = torch.linspace(-1, 1, COUNT * 3 * 4).reshape(COUNT, 3, 2, 2)
        with_map = replace(
            evaluation, on_x=replace(evaluation.on_x, cam=cam), on_x_adv=replace(evaluation.on_x_adv, cam=cam)
        )
        assert picture(with_map).height > picture(evaluation).height


def test_text_is_one_short_line() -> None:
    assert repr(shown()) == "type1: 40.0% of 5 succeed"


class TestHTML:
    def test_is_closed_and_shows_the_same_picture(self) -> None:
        one = shown()
        (image,) = Document(one._repr_html_()).images
        assert image["src"] is not None
        head, _, data = image["src"].partition(",")
        assert head == "data:image/png;base64"
        assert b64decode(data, validate=True) == one._repr_png_()

    def test_says_what_victim_and_judge_say(self) -> None:
        """Of the second pair, whose x' both read as stripes, and of the last, in which the judge reads nothing."""
        (image,) = Document(shown()._repr_html_()).images
        words = str(image["alt"]).split(" x: ")
        assert words[1] == (
            "victim [dots] 1.000, judge [dots] 1.00. x': victim [wide stripes] 1.000, judge [wide stripes] 1.00."
        )
        assert words[-1].endswith("x': victim [dots] 1.000, judge [nothing].")

    def test_has_the_rates(self) -> None:
        text = " ".join(Document(shown()._repr_html_()).texts)
        assert re.search(r"success: the victim keeps y, the judge reads y' 40\.0% 11\.8% to 76\.9%", text)

    def test_names_of_classes_are_escaped(self) -> None:
        names = ('<script>"1"</script>', "a & b", "it's")
        html = shown(class_names=names)._repr_html_()
        assert "<script" not in html
        (image,) = Document(html).images
        assert f"victim [{names[0]}]" in str(image["alt"])
        assert f"victim [{names[1]}]" in str(image["alt"])


class TestPandas:
    def test_has_the_columns_and_values_of_results_csv(self, tmp_path: Path) -> None:
        evaluation = attack_evaluation()
        evaluation = replace(evaluation, distances=replace(evaluation.distances, pixels=torch.rand(COUNT) / 3))
        table = shown(evaluation).to_pandas()
        write_results(evaluation, torch.arange(COUNT), STARTS, NAMES, tmp_path / "results.csv")
        with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert list(table.columns) == list(rows[0])
        assert len(table) == COUNT
        for found, row in zip(table.to_dict("records"), rows, strict=True):
            for name, cell in row.items():
                expected = pytest.approx(float(cell), abs=5e-5) if isinstance(found[name], float) else cell
                assert (found[name] if isinstance(found[name], float) else str(found[name])) == expected, name
        assert table["success"].tolist() == [1, 0, 0, 1, 0]
        assert table["pixels"].tolist() == evaluation.distances.pixels.tolist()

    def test_without_pandas_says_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(UserError, match=r"needs pandas.*\n.*pip install pandas"):
            shown().to_pandas()
