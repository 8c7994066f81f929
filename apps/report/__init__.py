"""A run as a page that stands beside a paper, and pictures of cut circuits."""
