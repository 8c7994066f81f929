"""What a circuit as written means, remembered in the store: the next process need not work it out again."""

from __future__ import annotations

import hashlib
import struct
import time

import numpy as np

from tasks.execution.cache.entry import Entry
from tasks.execution.cache.semantic import NORMAL_FORM_VERSION, CanonicalForm

FORM_MEMO = "form memo"
_PREFIX = b"form memo" + struct.pack("<H", NORMAL_FORM_VERSION)


def memo_key(exact: bytes) -> bytes:
    """Return the 32-byte key under which the meaning of a circuit as written is kept."""
    return hashlib.blake2b(_PREFIX + exact, digest_size=32).digest()


def memo_entry(exact: bytes, form: CanonicalForm, expires: float) -> Entry:
    """Return the entry that remembers a circuit's canonical form."""
    places = {
        "level": FORM_MEMO,
        "bits": ",".join(map(str, form.bits)),
        "inverted": "".join("01"[flip] for flip in form.inverted),
        "sizes": f"{form.num_bits},{form.num_operations},{form.num_qubits}",
    }
    data = np.frombuffer(form.data, dtype=np.uint8)
    return Entry(_PREFIX + exact, form.angles, (), data, 0.0, time.time(), expires, places)


def remembered_form(entry: Entry, exact: bytes) -> CanonicalForm | None:
    """Return the form that an entry remembers, or None if it is not this circuit's."""
    about = entry.provenance
    if entry.material != _PREFIX + exact or entry.array is None or about.get("level") != FORM_MEMO:
        return None
    bits = tuple(int(bit) for bit in about["bits"].split(",") if bit)
    inverted = tuple(flip == "1" for flip in about["inverted"])
    num_bits, num_operations, num_qubits = (int(size) for size in about["sizes"].split(","))
    return CanonicalForm(entry.array.tobytes(), entry.angles, bits, inverted, num_bits, num_operations, num_qubits)
