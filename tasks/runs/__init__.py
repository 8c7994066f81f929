"""A run's folder: its record, its results, its files. README.md beside this says what is in it."""

from tasks.runs.directory import RunDirectory, read_record, stored_problem
from tasks.runs.record import RunRecord, RunRecordError
from tasks.runs.results import store_result

__all__ = ["RunDirectory", "RunRecord", "RunRecordError", "read_record", "store_result", "stored_problem"]
