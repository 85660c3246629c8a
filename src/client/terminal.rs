//! Whether a terminal is there, with somebody in front of it who can answer.

use crate::adapters::files;

/// Whether keys such as Ctrl-C reach this process and all that it started: it belongs to a terminal and runs in its foreground.
pub fn in_front_of_terminal() -> bool {
    let Ok(terminal) = files::open_terminal() else {
        return false;
    };
    rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}
