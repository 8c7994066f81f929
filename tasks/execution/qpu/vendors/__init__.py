"""Vendors of QPUs: one file each, registered in ``table.py``."""

from tasks.execution.qpu.vendors.table import SERVED, VENDORS, vendor_of
from tasks.execution.qpu.vendors.vendor import Vendor

__all__ = ["SERVED", "VENDORS", "Vendor", "vendor_of"]
