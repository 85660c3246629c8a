//! The one place that runs programs.
