//! A wall clock that differs from the machine's, for one posternd. Needs `cc` and root.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Adds the seconds in a file to the wall clock of each program that the dynamic linker starts.
const CLOCK: &str = r#"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset = MAP_FAILED;

__attribute__((constructor)) static void begin(void) {
    int file = open(OFFSET, O_RDONLY);
    offset = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    long failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_REALTIME && offset != MAP_FAILED)
        time->tv_sec += *offset;
    return (int)failed;
}
"#;

/// Sets the clock that belongs to this folder: so many seconds ahead.
pub fn set_clock(folder: &Path, offset: i64) {
    use std::os::unix::fs::FileExt;
    let mut options = fs::File::options();
    let options = options.write(true).create(true).truncate(false);
    let file = options.open(folder.join("offset")).unwrap();
    file.write_all_at(&offset.to_ne_bytes(), 0).unwrap();
}

/// The script of [`crate::Daemon::through`] for a posternd with the clock of this folder.
pub fn with_own_clock(folder: &Path) -> String {
    let here = folder.display().to_string();
    fs::write(folder.join("clock.c"), CLOCK).unwrap();
    let mut compiler = Command::new("cc");
    let flags = ["-shared", "-fPIC", "-o"].map(str::to_owned);
    let files = [format!("{here}/clock.so"), format!("{here}/clock.c")];
    let compiler = compiler.args(flags).args(files);
    let compiled = compiler.arg(format!("-DOFFSET=\"{here}/offset\"")).status();
    assert!(compiled.unwrap().success());
    let own_etc = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work && mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc";
    let preload = format!("echo {here}/clock.so >/etc/ld.so.preload");
    format!("{own_etc} && {preload} && exec \"$@\"")
}
