"""What a video file is: its boxes, and FFmpeg's reading of it in a process apart."""
