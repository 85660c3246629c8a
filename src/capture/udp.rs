//! Capture through a bound UDP socket that never answers.
