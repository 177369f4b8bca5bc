//! A proxy that goes wrong where ranges of an object are read.
