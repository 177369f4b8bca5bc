//! Pulls on volumes: mount points, full and read-only ones.
