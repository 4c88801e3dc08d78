"""Which files of a folder are taken for videos, by their names alone."""

# Containers and raw streams that FFmpeg reads and that hold pictures as a rule.
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mj2"),
    *(".mkv", ".mk3d", ".webm", ".avi", ".divx", ".flv", ".wmv", ".asf"),
    *(".ts", ".m2ts", ".mts", ".m2t", ".tod", ".trp", ".mpg", ".mpeg", ".mpe"),
    *(".m1v", ".m2v", ".mpv", ".vob", ".mod", ".vro", ".dv", ".dif", ".mxf"),
    *(".gxf", ".nut", ".ogv", ".ogm", ".rm", ".rmvb", ".wtv", ".y4m", ".ivf"),
    *(".264", ".h264", ".avc", ".265", ".h265", ".hevc", ".obu", ".mjpeg"),
    *(".mjpg", ".gif", ".insv", ".lrv", ".nsv", ".bik", ".roq", ".amv"),
)
