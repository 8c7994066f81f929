"""QPY: Qiskit reads it, once its header says that the circuit is not too wide; what QPY loses is refused."""

from __future__ import annotations

import io
import re
import struct
import warnings
from pathlib import Path

import qiskit
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Instruction
from qiskit.qpy import formats

from tasks.errors import InputError
from tasks.inputs.limits import checked_width

_LOST = b"StatePreparation"


def read_qpy(path: Path, content: bytes) -> QuantumCircuit:
    """The one circuit in a QPY file.

    Raises:
        InputError: it is damaged or newer than this Qiskit, holds several circuits or one too wide, or a
            StatePreparation whose inverse QPY does not keep.
    """
    _check_header(path, content)
    _check_preparations(path, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            circuits = qpy.load(io.BytesIO(content))
    except Exception as error:  # damaged bytes surface as any of struct.error, MemoryError, UnicodeDecodeError, ...
        unread = (
            re.match(r"(\w+)\.__init__\(\) (?:takes|missing)", str(error)) if isinstance(error, TypeError) else None
        )
        if unread is not None:  # Qiskit writes some of its own gates in a form that it cannot make them from
            raise InputError(
                f"{path}: holds {unread[1]}, which Qiskit {qiskit.__version__} writes into QPY files but cannot read"
                " back: decompose it before writing the file"
            ) from error
        if (unmade := _unmade(error)) is not None:
            reason = " ".join(str(error).split()).strip("'\"").rstrip(".")
            raise InputError(
                f"{path}: Qiskit {qiskit.__version__} cannot make a {unmade} again from what it wrote ({reason:.100}):"
                " decompose it before writing the file, or write it again if it is damaged"
            ) from error
        raise InputError(
            f"{path}: this QPY file is damaged, or newer than Qiskit {qiskit.__version__} reads: write it again"
        ) from error
    if len(circuits) != 1 or not isinstance(circuits[0], QuantumCircuit):
        raise InputError(f"{path}: holds {len(circuits)} circuits: write the one to run into a file of its own")
    return circuits[0]


def _unmade(error: BaseException) -> str | None:
    """The class of the instruction whose own code refused what a file has for it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    own = None if frame is None else frame.tb_frame.f_locals.get("self")
    return type(own).__name__ if isinstance(own, Instruction) else None


def _check_header(path: Path, content: bytes) -> None:
    """Refuse a circuit that is too wide, or too many circuits, before Qiskit makes them.

    https://quantum.cloud.ibm.com/docs/api/qiskit/qpy: file header, type key, table of circuits, circuit header.
    """
    version = content[6] if len(content) > 6 else 0
    try:
        if version >= 10:
            position = formats.FILE_HEADER_V10_SIZE
            count = formats.FILE_HEADER_V10._make(
                struct.unpack_from(formats.FILE_HEADER_V10_PACK, content)
            ).num_programs
        else:
            position = formats.FILE_HEADER_SIZE
            count = formats.FILE_HEADER._make(struct.unpack_from(formats.FILE_HEADER_PACK, content)).num_programs
        if count != 1:
            raise InputError(f"{path}: holds {count} circuits: write the one to run into a file of its own")
        position += 1 if version >= 5 else 0
        if version >= 16:  # then a table says where the circuit is
            position = struct.unpack_from(formats.CIRCUIT_TABLE_ENTRY_PACK, content, position)[0]
        if version >= 12:
            header = formats.CIRCUIT_HEADER_V12._make(
                struct.unpack_from(formats.CIRCUIT_HEADER_V12_PACK, content, position)
            )
        elif version >= 2:
            header = formats.CIRCUIT_HEADER_V2._make(
                struct.unpack_from(formats.CIRCUIT_HEADER_V2_PACK, content, position)
            )
        else:
            header = formats.CIRCUIT_HEADER._make(struct.unpack_from(formats.CIRCUIT_HEADER_PACK, content, position))
    except struct.error as error:
        raise InputError(f"{path}: this QPY file is damaged: write it again") from error
    checked_width(f"{path}: ", header.num_qubits, header.num_clbits)


def _check_preparations(path: Path, content: bytes) -> None:
    """Refuse the inverse of a StatePreparation: Qiskit writes it as one that is not inverted.

    Its label, which follows the class's name, is all that tells: Qiskit ends it with "Dg".
    """
    position = content.find(_LOST)
    while position >= 0:
        start = position - formats.CIRCUIT_INSTRUCTION_V2_SIZE
        if start > 0:
            header = formats.CIRCUIT_INSTRUCTION_V2._make(
                struct.unpack_from(formats.CIRCUIT_INSTRUCTION_V2_PACK, content, start)
            )
            end = position + len(_LOST)
            if header.name_size == len(_LOST) and content[end : end + header.label_size].endswith(b" Dg"):
                raise InputError(
                    f"{path}: holds the inverse of a StatePreparation, which Qiskit's QPY does not keep:"
                    " decompose it before writing, or write OpenQASM"
                )
        position = content.find(_LOST, position + 1)
