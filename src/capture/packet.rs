//! Passive capture through pnet on a socket that the monitor opened and filtered.
