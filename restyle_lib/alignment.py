"""The oriented crop of faces that FFHQ was made with (Karras et al. 2019, Appendix C), from landmarks.

Landmarks are (x, y) in pixels of the upright image: dlib's 68 points, or five, as the picture has them from
left to right: eye, eye, nose, mouth corner, mouth corner. They come from a file, or from kornia's detector
(YuNet) where its weights are on this machine; nothing is fetched."""
import csv
import io
import json
import sys
from collections import Counter
from pathlib import Path, PurePosixPath
from unittest.mock import patch

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from . import registry
from .errors import UserError
from .files import atomic, read_arrays
from .pixels import decode, encode_png
from .sources import discover

SURE = 0.6            # a detection counts from this score on
WIDEST = 640          # pixels of the longer side that the detector sees, at most
FACES = "largest, all, or the number of a face, from 0"


def quad(points):
    """Landmarks [68, 2] or [5, 2] -> corners [4, 2] of the crop: upper left, lower left, lower right, upper
    right. The square is as wide as twice the eyes' distance, or 1.8 times that of eyes and mouth each way."""
    if len(points) == 68:
        eyes, corners = (points[36:42].mean(0), points[42:48].mean(0)), (points[48], points[54])
    else:
        eyes, corners = points[:2], points[3:]
    middle, across = (eyes[0] + eyes[1]) / 2, eyes[1] - eyes[0]
    down = (corners[0] + corners[1]) / 2 - middle
    x = across + down[::-1] * (1, -1)                    # both say where "right" is; down, a quarter turned
    if not np.hypot(*across) or not np.hypot(*down) or not np.hypot(*x):
        raise UserError("eyes and mouth lie in one place")
    x = x / np.hypot(*x) * max(2 * np.hypot(*across), 1.8 * np.hypot(*down))
    y = x[::-1] * (-1, 1)
    centre = middle + 0.1 * down
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def align(image, points, size=256, supersample=4):
    """uint8 [H, W, 3] and its landmarks -> the face upright, uint8 [size, size, 3].

    What lies outside the image is its reflection, blurred and fading into the median colour. supersample: the
    crop is drawn so many times larger first, as FFHQ's was. UserError for landmarks that are not a face's."""
    points, (height, width) = np.asarray(points, float), image.shape[:2]
    if points.shape not in ((68, 2), (5, 2)) or not np.isfinite(points).all():
        raise UserError(f"landmarks {list(points.shape)} are not 68 or 5 points (x, y)")
    corners = quad(points)
    side, middle = np.hypot(*(corners[3] - corners[0])), corners.mean(0)
    if not (0 <= middle[0] <= width and 0 <= middle[1] <= height and 4 <= side <= 8 * max(width, height)):
        raise UserError(f"landmarks around ({middle[0]:.0f}, {middle[1]:.0f}), a crop of {side:.0f} pixels, "
                        f"do not fit the image of {width}x{height}: they belong to another size, or are "
                        "(y, x)")
    picture = Image.fromarray(image)
    if (shrink := int(side / size / 2)) > 1:             # much larger than is needed
        width, height = (int(np.rint(v / shrink)) for v in (width, height))
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        corners, side = corners / shrink, side / shrink
    border = max(int(np.rint(0.1 * side)), 3)
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    box = (*np.maximum(low - border, 0), *np.minimum(high + border, (width, height)))
    picture, corners = picture.crop(tuple(map(int, box))), corners - box[:2]
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    beyond = np.maximum((*(border - low), *(high - picture.size + border)), 0)
    if beyond.max() > border - 4:
        beyond = np.maximum(beyond, int(np.rint(0.3 * side)))
        picture, corners = _continued(picture, beyond, side), corners + beyond[:2]
    drawn = picture.transform((supersample * size,) * 2, Image.Transform.QUAD, (corners + 0.5).ravel(),
                              Image.Resampling.BILINEAR)
    return np.asarray(drawn.resize((size, size), Image.Resampling.LANCZOS))


def _continued(picture, beyond, side):
    """A picture with margins of `beyond` (left, top, right, bottom) pixels: reflected, blurred, plain."""
    from scipy.ndimage import gaussian_filter

    left, top, right, bottom = map(int, beyond)
    values = np.pad(np.float32(picture), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = values.shape[:2]
    y, x = np.ogrid[:height, :width]
    away = np.maximum(1 - np.minimum(np.float32(x) / left, np.float32(width - 1 - x) / right),
                      1 - np.minimum(np.float32(y) / top, np.float32(height - 1 - y) / bottom))[..., None]
    values += (gaussian_filter(values, (0.02 * side, 0.02 * side, 0)) - values) * np.clip(3 * away + 1, 0, 1)
    values += (np.median(values, (0, 1)) - values) * np.clip(away, 0, 1)
    return Image.fromarray(np.uint8(np.clip(np.rint(values), 0, 255)))


# ---- landmarks

def read_landmarks(path):
    """A file's landmarks: {image name: [faces, 68 or 5, 2]}; "*" is the only image's where none is named.

    .json: {name: points or list of points}, or points alone; .csv: a row a face: name, x, y, x, y, ... (a
    line of column names may come first, as in CelebA's); .npy: points of one image; .npz: {name: array}.
    UserError: where it does not hold 68 or 5 points."""
    path = Path(path).expanduser()
    try:
        if path.suffix == ".csv":
            rows = [row for row in csv.reader(io.StringIO(path.read_text("utf-8-sig"))) if row]
            rows = rows[1:] if rows and not _is_number(rows[0][-1]) else rows
            found = {}
            for name, *numbers in rows:
                found.setdefault(name.strip(), []).append(np.reshape([float(n) for n in numbers], (-1, 2)))
        elif path.suffix == ".json":
            found = json.loads(path.read_text("utf-8"))
        elif path.suffix == ".npz":
            found = read_arrays(path)
        elif path.suffix == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            raise UserError(f"{path}: landmarks are read from .json, .csv, .npy and .npz files")
        found = found if isinstance(found, dict) else {"*": found}
        if not found:
            raise UserError("there are no landmarks in it")
        return {name: _faces(points, name) for name, points in found.items()}
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except Exception as error:                           # csv, json, zipfile and numpy raise many types
        raise UserError(f"{path} is not a readable file of landmarks ({error})") from None


def _is_number(text):
    try:
        return bool(float(text)) or True
    except ValueError:
        return False


def _faces(points, name):
    try:
        points = np.asarray(points, float)
        points = points.reshape(-1, *points.shape[-2:]) if points.size else np.zeros((0, 5, 2))
    except (ValueError, TypeError):
        points = np.zeros(0)
    if points.ndim != 3 or points.shape[1:] not in ((68, 2), (5, 2)) or not np.isfinite(points).all():
        raise UserError(f"the landmarks of '{name}' are not 68 or 5 points (x, y) a face")
    return points


def detector():
    """image uint8 [H, W, 3] -> five landmarks of each face [faces, 5, 2], by kornia's YuNet. UserError where
    its weights are not on this machine."""
    import torch
    from kornia.contrib import face_detection

    known = registry.entry("yunet")
    path = Path(torch.hub.get_dir()) / "checkpoints" / known.file        # where kornia itself keeps it
    path = path if path.exists() else registry.find("yunet")
    make = face_detection.YuNet                          # with its own weights it would fetch, and unpickle
    with patch.object(face_detection, "YuNet", lambda phase, pretrained: make(phase, False)):
        faces = face_detection.FaceDetector(confidence_threshold=SURE)
    try:
        faces.model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:                           # unpickling raises many types
        raise UserError(f"{path} does not hold YuNet's weights ({type(error).__name__})") from None
    faces.eval()

    @torch.no_grad()
    def find(image):
        scale = min(1, WIDEST / max(image.shape[:2]))
        size = [max(32, round(v * scale)) for v in image.shape[1::-1]]
        small = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        x = torch.from_numpy(small).permute(2, 0, 1)[None].flip(1).float()       # BGR, 0 to 255
        made = faces.postprocess(faces.model(x), size[1], size[0])
        points = made[0][:, 4:14].reshape(-1, 5, 2).numpy() if made else np.zeros((0, 5, 2))
        return points * (np.array(image.shape[1::-1]) / size)

    return find


# ---- many images

def align_files(paths, out, landmarks=None, *, face="largest", size=256, progress=True):
    """Aligns the faces of files, folders and zips into the folder `out` -> (paths written, sentences about
    images without a usable face).

    Writes OUT/NAME.png, with face="all" NAME_0.png and so on. landmarks: a file (see `read_landmarks`), or
    None for the detector. An image is looked up by its relative path, its name, or that without suffix."""
    if face not in ("largest", "all") and not str(face).isdecimal():
        raise UserError(f"face '{face}' is not known; accepted: {FACES}")
    if not 16 <= size <= 4096:
        raise UserError(f"size {size}: accepted are 16 to 4096 pixels")
    items = discover(paths, leave_out=out)[0]
    known = None if landmarks is None else read_landmarks(landmarks)
    if known is not None and "*" in known and len(items) > 1:
        raise UserError(f"{landmarks} names no images, and there are {len(items)}; accepted for several: a "
                        ".json, .csv or .npz with their names")
    find = detector() if known is None else None
    stems, written, bad = Counter(str(PurePosixPath(i.name).with_suffix("")) for i in items), [], []
    for item in tqdm(items, desc="aligning", unit="img", disable=not progress):
        try:
            image = decode(item.read(), item.name)
            faces = find(image) if find else _looked_up(known, item.name)
            made = [align(image, points, size) for points in _chosen(faces, face)]
        except UserError as error:
            told = str(error)
            bad.append(told if told.startswith(item.name) else f"{item.name}: {told}")
            tqdm.write(f"skipped: {bad[-1]}", file=sys.stderr)
            continue
        stem = str(PurePosixPath(item.name).with_suffix(""))
        stem = item.name if stems[stem] > 1 else stem
        for i, pixels in enumerate(made):
            written.append(Path(out) / f"{stem}{f'_{i}' if face == 'all' else ''}.png")
            with atomic(written[-1]) as stream:
                stream.write(encode_png(pixels))
    return written, bad


def _looked_up(known, name):
    path = PurePosixPath(name)
    for key in ("*", name, path.name, str(path.with_suffix("")), path.stem):
        if key in known:
            return known[key]
    raise UserError(f"there are no landmarks of it among those of {len(known)} images")


def _chosen(faces, face):
    """The faces asked for; the largest is the one with the largest crop."""
    if not len(faces):
        raise UserError("no face was found; give its landmarks: --landmarks FILE")
    if face == "all":
        return faces
    if face == "largest":
        return [max(faces, key=lambda points: np.ptp(quad(points), 0).max())]
    if int(face) >= len(faces):
        raise UserError(f"face {face} was asked for, and {len(faces)} were found, numbered from 0")
    return [faces[int(face)]]
