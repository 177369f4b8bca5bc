//! Pulls that are killed.
