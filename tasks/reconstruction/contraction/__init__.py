"""The network of fragment tensors, contracted along a searched path."""
