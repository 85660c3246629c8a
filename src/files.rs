//! The one place that opens files.
