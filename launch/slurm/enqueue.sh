#!/bin/sh
# usage: launch/slurm/enqueue.sh [OPTIONS] CIRCUIT --observable TEXT ...     (--help lists the options)
# Submits a run to Slurm, with COMPSs or without: launch/slurm/README.md.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
exec sh "$here/../prepare.sh" requirements.txt python "$here/enqueue.py" "$@"
