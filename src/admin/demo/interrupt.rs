//! Signals: after Ctrl-C the demo stops and removes everything that it set up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::model::exit::ExitError;

#[derive(Debug, Clone)]
pub(super) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    pub(super) fn take() -> Result<Self, ExitError> {
        let arrived = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&arrived), number)
                .map_err(ExitError::system("taking signals"))?;
        }
        Ok(Self(arrived))
    }

    pub(super) fn arrived(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

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
