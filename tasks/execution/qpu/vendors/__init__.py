"""Vendors of QPUs: one file each, registered in ``table.py``."""

from tasks.execution.qpu.vendors.table import VENDORS, vendor_of
from tasks.execution.qpu.vendors.vendor import Vendor

__all__ = ["VENDORS", "Vendor", "vendor_of"]
