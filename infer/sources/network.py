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
# Protocols that a network input may open in turn (segments, keys, redirections); a
# local file is never among them.
PROTOCOLS = "udp,rtp,rtsp,rtmp,rtmps,tcp,tls,srt,http,https,httpproxy,hls,crypto,data"
MAX_STREAMS = 32
# Before the first frame; a stream can put off for ever what FFmpeg wants to know of it.
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
        # In packets of 188 bytes; these 19 MB become resident as the stream first runs
        # through them. FFmpeg's own are 5.4 MB.
        options["fifo_size"] = "100000"
        # Packets that overflow it are lost; without this the stream would be.
        options["overrun_nonfatal"] = "1"
        # Bytes in the system, for while FFmpeg's reader does not run.
        options["buffer_size"] = "1048576"
    return options
