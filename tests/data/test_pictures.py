"""Pictures of every mode as 8-bit images: what is seen stays, and what has no certain meaning is refused."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image, TiffImagePlugin

from cam_adv.data.pictures import PictureFormat
from cam_adv.errors import UserError

SIDE = 4
PILLOW = int(PIL.__version__.partition(".")[0])


def reopened(picture: Image.Image, file_format: str, **arguments: Any) -> Image.Image:
    """The picture as it is read from a file."""
    file = io.BytesIO()
    picture.save(file, file_format, **arguments)
    file.seek(0)
    return Image.open(file)


def flat(mode: str, value: Any) -> Image.Image:
    return Image.new(mode, (SIDE, SIDE), value)


def integers(value: int, kind: type) -> Image.Image:
    return Image.fromarray(np.full((SIDE, SIDE), value, kind))


def palette(transparency: int | bytes | None) -> Image.Image:
    """Index 0 is red, index 1 is blue; all pixels are of index 0."""
    picture = flat("P", 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    arguments = {} if transparency is None else {"transparency": transparency}
    return reopened(picture, "PNG", **arguments)


def tiff(values: np.ndarray, bits: int, photometric: int = 1, sample_format: int = 1) -> Image.Image:
    """A TIFF of one gray channel, written by hand: Pillow writes only some kinds."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    data = values.tobytes()
    for tag, value in {
        256: values[0].nbytes * 8 // bits,
        257: values.shape[0],
        258: bits,
        259: 1,
        262: photometric,
        273: 0,  # from the end of the tags
        277: 1,
        278: values.shape[0],
        279: len(data),
        339: sample_format,
    }.items():
        tags[tag] = value
    file = io.BytesIO()
    tags.save(file)
    file.write(data)
    file.seek(0)
    return Image.open(file)


def colour(picture: Image.Image, **arguments: Any) -> list[int]:
    """The colour of the pixels, which must all have the same."""
    image = PictureFormat(**({"size": SIDE, "gray": False} | arguments)).image(picture, "it")
    values = image.flatten(1).unique(dim=1)
    assert values.shape[1] == 1
    return values.flatten().tolist()


class TestTransparency:
    @pytest.mark.parametrize(
        ("picture", "white", "black"),
        [
            (lambda: flat("RGBA", (0, 0, 0, 0)), [255] * 3, [0] * 3),
            (lambda: flat("RGBA", (200, 100, 0, 255)), [200, 100, 0], [200, 100, 0]),
            (lambda: flat("RGBA", (200, 100, 0, 51)), [244, 224, 204], [40, 20, 0]),
            (lambda: flat("LA", (100, 51)), [224] * 3, [20] * 3),
            (lambda: flat("La", (20, 51)), [224] * 3, [20] * 3),
            (lambda: flat("RGBa", (40, 20, 0, 51)), [244, 224, 204], [40, 20, 0]),
            (lambda: palette(None), [255, 0, 0], [255, 0, 0]),
            (lambda: palette(0), [255] * 3, [0] * 3),
            (lambda: palette(1), [255, 0, 0], [255, 0, 0]),
            (lambda: palette(b"\x33\xff"), [255, 204, 204], [51, 0, 0]),
            (lambda: reopened(flat("L", 7), "PNG", transparency=7), [255] * 3, [0] * 3),
            (lambda: reopened(flat("1", 1), "PNG", transparency=1), [255] * 3, [0] * 3),
            (lambda: reopened(flat("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3)), [255] * 3, [0] * 3),
            (lambda: reopened(integers(300, np.uint16), "PNG", transparency=300), [255] * 3, [0] * 3),
            (lambda: reopened(integers(301, np.uint16), "PNG", transparency=300), [1] * 3, [1] * 3),
            (lambda: reopened(flat("P", 0), "GIF", transparency=0), [255] * 3, [0] * 3),
            (lambda: reopened(flat("RGBA", (0, 0, 0, 0)), "WEBP", lossless=True), [255] * 3, [0] * 3),
        ],
    )
    def test_ground_shows_through(
        self, picture: Callable[[], Image.Image], white: list[int], black: list[int]
    ) -> None:
        assert colour(picture()) == white
        assert colour(picture(), background="black") == black
        assert colour(picture(), gray=True) == [Image.new("RGB", (1, 1), tuple(white)).convert("L").getpixel((0, 0))]

    def test_drawing_on_a_transparent_ground_is_seen(self) -> None:
        """Black ink, whose transparent surroundings are stored as black."""
        pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
        pixels[1, :, 3] = 255
        image = PictureFormat(SIDE, gray=True).image(Image.fromarray(pixels), "it")
        assert image[0].tolist() == [[255] * 4, [0] * 4, [255] * 4, [255] * 4]


class TestModes:
    @pytest.mark.parametrize(
        ("picture", "expected"),
        [
            (lambda: reopened(flat("1", 1), "PNG"), [255] * 3),
            (lambda: reopened(flat("1", 0), "TIFF"), [0] * 3),
            (lambda: reopened(integers(128 * 257, np.uint16), "PNG"), [128] * 3),
            (lambda: reopened(integers(255, np.uint16), "PNG"), [1] * 3),
            (lambda: reopened(integers(65535, np.uint16), "TIFF"), [255] * 3),
            (lambda: reopened(integers(65535, np.uint16), "PPM"), [255] * 3),
            (lambda: Image.open(io.BytesIO(b"P5 4 4 4095 " + 16 * b"\x0f\xff")), [255] * 3),
            (lambda: tiff(np.full((4, 4), 65535, "<u2"), bits=16, photometric=0), [0] * 3),
            (lambda: tiff(np.full((4, 6), 0xFF, "u1"), bits=12), [255] * 3),
            (lambda: reopened(flat("CMYK", (0, 255, 255, 0)), "TIFF"), [255, 0, 0]),
            (lambda: reopened(flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=100), [255, 0, 0]),
            pytest.param(
                lambda: reopened(flat("YCbCr", (76, 85, 255)), "TIFF"),
                [254, 0, 0],
                marks=pytest.mark.skipif(PILLOW < 13, reason="Pillow before 13 can't read it"),
            ),
        ],
    )
    def test_values_keep_their_meaning(self, picture: Callable[[], Image.Image], expected: list[int]) -> None:
        assert colour(picture()) == expected

    def test_inverted_cmyk_of_four_components_stays_the_same_colour(self) -> None:
        """A JPEG in YCCK: the marker of Adobe says that Y, Cb and Cr stand for C, M and Y."""
        file = io.BytesIO()
        flat("CMYK", (255 - 76, 255 - 85, 0, 0)).save(file, "JPEG", quality=100, subsampling=0)
        content = file.getvalue()
        marker = content.index(b"Adobe") + len(b"Adobe") + 6
        ycck = content[:marker] + b"\x02" + content[marker + 1 :]
        assert colour(Image.open(io.BytesIO(ycck))) == pytest.approx([0, 255, 255], abs=4)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", [np.uint8, np.uint16])
    def test_orientation_of_the_camera_is_undone(self, orientation: int, kind: type) -> None:
        upright = (np.arange(SIDE**2).reshape(SIDE, SIDE) * (257 if kind is np.uint16 else 1)).astype(kind)
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.T,
            6: np.rot90(upright),
            7: upright[::-1, ::-1].T,
            8: np.rot90(upright, 3),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture = reopened(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
        image = PictureFormat(None, gray=True).image(picture, "it")
        assert image[0].tolist() == np.arange(SIDE**2).reshape(SIDE, SIDE).tolist()

    def test_preview_beside_a_photograph_is_no_second_picture(self) -> None:
        picture = reopened(flat("RGB", (9, 9, 9)), "MPO", save_all=True, append_images=[flat("RGB", 0)], quality=100)
        assert picture.n_frames == 2
        assert colour(picture) == [9, 9, 9]


class TestRefused:
    @pytest.mark.parametrize(
        ("picture", "reason", "remedy"),
        [
            (lambda: reopened(integers(100, np.int32), "TIFF"), "signed integers", "8 or 16 bits"),
            (lambda: reopened(integers(-100, np.int32), "TIFF"), "signed integers", "8 or 16 bits"),
            (lambda: reopened(integers(70_000, np.int32), "TIFF"), "signed integers", "8 or 16 bits"),
            (lambda: tiff(np.full((4, 4), 70_000, "<u4"), bits=32), "32-bit integers", "8 or 16 bits"),
            (lambda: tiff(np.full((4, 4), -3, "<i2"), bits=16, sample_format=2), "signed integers", "8 or 16 bits"),
            (lambda: tiff(np.full((4, 4), -3, "i1"), bits=8, sample_format=2), "signed integers", "8 or 16 bits"),
            (lambda: reopened(flat("F", 0.5), "TIFF"), "floating-point numbers", "8 or 16 bits"),
            (lambda: flat("I", 100), "32-bit integers", "8 or 16 bits"),
            *(
                (
                    lambda file_format=file_format: reopened(
                        flat("L", 1), file_format, save_all=True, append_images=[flat("L", 200), flat("L", 90)]
                    ),
                    "3 frames or pages",
                    "files of their own",
                )
                for file_format in ("GIF", "PNG", "TIFF", "WEBP")
            ),
        ],
    )
    def test_picture_of_unknown_meaning(self, picture: Callable[[], Image.Image], reason: str, remedy: str) -> None:
        with pytest.raises(UserError) as refused:
            colour(picture())
        assert refused.value.what.startswith("it can't be read as a picture: ")
        assert reason in refused.value.what
        assert remedy in refused.value.remedy

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            ({"size": 0}, "dataset.size=0"),
            ({"gray": None}, "dataset.gray=None"),
            ({"gray": "no"}, "dataset.gray=no"),
            ({"background": None}, "dataset.background=None"),
            ({"background": "gray"}, "dataset.background=gray"),
        ],
    )
    def test_format_with_a_value_that_means_nothing(self, arguments: dict[str, Any], what: str) -> None:
        with pytest.raises(UserError, match=what):
            PictureFormat(**({"size": 4, "gray": True} | arguments))


def test_size_is_that_of_the_shorter_side_and_the_central_square(tmp_path: Path) -> None:
    """Of 3 × 1,200 pixels the middle three are left."""
    pixels = np.arange(1200, dtype=np.uint8)[None].repeat(3, axis=0)
    image = PictureFormat(3, gray=True).image(Image.fromarray(pixels), "it")
    assert image[0].tolist() == [[599 % 256, 600 % 256, 601 % 256]] * 3
