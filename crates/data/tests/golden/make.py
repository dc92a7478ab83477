"""Writes the golden files of this directory with NumPy (made with NumPy 2)."""
import numpy as np
from numpy.lib import format as f

base = np.array([[0, 1, 2], [3, 100, 127]])
for name in ["|b1", "|u1", "|i1", "<i2", ">i2", "<u2", "<i4", ">i4", "<u4", ">u4", "<i8", ">i8", "<u8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]:
    x = base.astype(name)
    if np.dtype(name).kind in "if":
        x = x - np.array(5, dtype=name)
    with open("%s_%s.npy" % ({"|": "n", "<": "l", ">": "b"}[name[0]], name[1:]), "wb") as out:
        np.save(out, x.astype(name))
np.save("fortran.npy", np.asfortranarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4)))
np.save("scalar.npy", np.float64(2.5))
np.save("empty.npy", np.zeros((0, 3), np.float32))
np.save("vector.npy", np.arange(5))
halves = np.array([0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0xC000, 0x7BFF, 0x7C00, 0xFC00, 0x3555], np.uint16)
np.save("halves.npy", halves.view(np.float16))
for v in [(2, 0), (3, 0)]:
    with open("version%d.npy" % v[0], "wb") as out:
        f.write_array(out, np.arange(3, dtype=np.int32), version=v)
np.save("object.npy", np.array([{}, None], dtype=object))
np.save("complex.npy", np.zeros(2, np.complex64))
np.save("text.npy", np.array(["a", "bc"]))
np.save("struct.npy", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]))
np.savez("stored.npz", x=np.arange(6, dtype=np.float32).reshape(2, 3), **{"layer/w": np.arange(3)})
np.savez_compressed("packed.npz", x=np.zeros((100, 100), np.float32), y=np.arange(1000, dtype=np.int32))
