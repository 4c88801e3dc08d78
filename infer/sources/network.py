"""Inputs from a network: what they may do, how long they may take and how much they may
ask for.
"""

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
"""What a network input may open in turn (segments, keys, redirections): never a local
file.
"""
MAX_PIXELS = 8192 * 8192
MAX_STREAMS = 32
PROBE_BYTES = 8_000_000
PROBE_MICROSECONDS = 2_000_000


def is_network(path: str) -> bool:
    """Whether this is an address and not a file name."""
    return path.partition("://")[0].lower() in NETWORK and "://" in path


def network_options(path: str) -> dict[str, str]:
    """FFmpeg's options for a network input."""
    scheme = path.partition("://")[0].lower()
    options = {
        "protocol_whitelist": PROTOCOLS,
        "max_streams": str(MAX_STREAMS),
        "probesize": str(PROBE_BYTES),
        "analyzeduration": str(PROBE_MICROSECONDS),
    }
    if scheme in ("rtsp", "rtsps"):
        options["rtsp_transport"] = "tcp"
    if scheme == "udp":
        options |= {
            "fifo_size": "100000",
            "overrun_nonfatal": "1",
            "buffer_size": "1048576",
        }
    return options
