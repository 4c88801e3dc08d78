"""Inputs from a network: their protocols, time-outs and bounds."""

NETWORK = (
    "udp",
    "rtp",
    "rtsp",
    "rtsps",
    "rtmp",
    "rtmps",
    "tcp",
    "tls",
    "srt",
    "http",
    "https",
)
PROTOCOLS = "udp,rtp,rtsp,rtmp,rtmps,tcp,tls,srt,http,https,httpproxy,hls,crypto,data"
"""Protocols that a network input may open in turn (segments, keys, redirections); a
local file is never among them.
"""
MAX_STREAMS = 32
PROBE_BYTES = 8_000_000
PROBE_MICROSECONDS = 2_000_000


def scheme_of(path: str) -> str:
    """Returns the protocol of an address in lower case; '' for a file name."""
    scheme, separator, _ = path.partition("://")
    return scheme.lower() if separator else ""


def is_network(path: str) -> bool:
    """Returns whether this is an address and not a file name."""
    return scheme_of(path) in NETWORK


def network_options(path: str) -> dict[str, str]:
    """Returns FFmpeg's options for a network input."""
    scheme = scheme_of(path)
    options = {
        "protocol_whitelist": PROTOCOLS,
        "max_streams": str(MAX_STREAMS),
        "probesize": str(PROBE_BYTES),
        "analyzeduration": str(PROBE_MICROSECONDS),
    }
    if scheme in ("rtsp", "rtsps"):
        options["rtsp_transport"] = "tcp"
    if scheme == "udp":
        options["fifo_size"] = "100000"
        options["overrun_nonfatal"] = "1"
        options["buffer_size"] = "1048576"
    return options
