"""MobileSAM as OpenVINO graphs, built from the arrays of a checkpoint: what runs on a CPU.

The files are to be read beside the figures of the papers, one file for one box. They compute what
the torch modules of ``model/network/`` compute, with less work; each says how. A graph is a
function of OpenVINO nodes: ``linear(x, part)`` adds nodes behind ``x`` and gives the last of them.
"""

import sys

# OpenVINO reports every import to its maker: it looks up a host and keeps an identifier in the home
# folder. Where its telemetry package cannot be imported, it goes without.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
