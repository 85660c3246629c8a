//! Ctrl-C and its like: the demo goes no step further and takes down what it has set up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::model::exit::ExitError;

/// The signal that came, once one has.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Takes the signals from now on: none ends this process by itself any more.
    pub(super) fn take() -> Result<Self, ExitError> {
        let came = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&came), number)
                .map_err(ExitError::system("taking signals"))?;
        }
        Ok(Self(came))
    }

    pub(super) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// An end as a shell has it, 128 and the signal, once one has come.
    pub(super) fn check(&self) -> Result<(), ExitError> {
        match u8::try_from(self.0.load(Ordering::Relaxed)) {
            Ok(0) | Err(_) => Ok(()),
            Ok(signal) => Err(ExitError::new(
                signal.saturating_add(128),
                "the demo was interrupted; nothing is left behind",
            )),
        }
    }
}
