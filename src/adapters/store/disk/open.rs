//! Waits for a file that another process has open.

use std::thread::sleep;
use std::time::Duration;

use redb::Database;

/// How long to wait: 10 s.
const BUSY_TRIES: u32 = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// A killed engine has the file open until the kernel has finished its writes.
pub(super) fn once_not_busy(
    open: impl Fn() -> Result<Database, redb::DatabaseError>,
) -> Result<Database, redb::DatabaseError> {
    for _ in 0..BUSY_TRIES {
        match open() {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => sleep(BUSY_PAUSE),
            done => return done,
        }
    }
    open()
}
