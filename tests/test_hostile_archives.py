"""Zips from strangers: those that grow, that lie about their members, that Python's reader stumbles over."""
import io
import struct
import zipfile

import pytest
import tiny

from restyle_lib import directions
from restyle_lib.checkpoints.published import read_published
from restyle_lib.data import load_images
from restyle_lib.directions import Direction
from restyle_lib.errors import UserError
from restyle_lib.sources import discover
from restyle_lib.training.loop import load_state
from restyle_lib.trajectory import Trajectory


def grown(path, name, size=80 * 2**20):
    """A small zip with a member of `size` zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, bytes(size))
    return path


def claims(path, shape, kind="<f4"):
    """An .npz whose array says that it has `shape`."""
    header = str({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(64)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("restyle_trajectory", "images", "vector", "facts"):
            archive.writestr(f"{name}.npy", data)
    return path


def test_archives_that_grow_are_refused(tmp_path):
    bomb = grown(tmp_path / "a.pt", "archive/data.pkl")
    for read in (load_state, directions.load):
        with pytest.raises(UserError, match="would unpack to 83,886,080 bytes, far more than it has"):
            read(bomb)
    for read in (Trajectory.load, Direction.load):
        with pytest.raises(UserError, match="would unpack to"):
            read(grown(tmp_path / "a.npz", "images.npy"))
        for shape in ((10**14,), (10**9, 10**9), (2**62, 8), (-1,)):
            with pytest.raises(UserError, match="not a readable trajectory|no direction of this"):
                read(claims(tmp_path / "b.npz", shape))


def odd_archives():
    """Zips that Python's own reader stumbles over: of a version that is not there yet, with a member that has
    no name, and one that says it spans several disks."""
    def zipped(name="a/b.png"):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            member = zipfile.ZipInfo("x")
            member.filename = name
            archive.writestr(member, b"no image")
        return bytearray(stream.getvalue())

    late, end = zipped(), zipped().index(b"PK\x05\x06")
    at = late.index(b"PK\x01\x02") + 6
    late[at:at + 2] = b"\xff\0"
    spread = zipped()
    spread[end:end] = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 5)
    return {"late": late, "nameless": zipped(""), "spread": spread}


@pytest.mark.parametrize("kind", odd_archives())
def test_archives_that_pythons_reader_stumbles_over(tmp_path, kind):
    data = odd_archives()[kind]
    for name, read in (("a.pt", read_published), ("b.pt", directions.load), ("c.npz", Trajectory.load),
                       ("d.zip", lambda path: discover([path])[0] or refuse(path))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError):
            read(tmp_path / name)


def refuse(path):
    raise UserError(f"{path} holds no image")


def test_a_members_size_is_what_its_zip_says(tmp_path):
    path = grown(tmp_path / "a.zip", "a.png", 1000)
    data = bytearray(path.read_bytes())
    for at in [i for i in range(len(data)) if data[i:i + 4] == struct.pack("<I", 1000)]:
        data[at:at + 4] = struct.pack("<I", 2**30)
    path.write_bytes(data)
    with pytest.raises(UserError, match="a.png cannot be read from a.zip .larger than 512 MiB"):
        load_images([path], tiny.domain())
