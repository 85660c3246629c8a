//! Files of a log that rotate, are cut, and hold other lines.

use std::fs::File;
use std::io::Write;

use super::*;

const LINE: &str = "Nov 29 16:49:06 gate kernel: [1.2] KNOCK IN=v0 OUT= MAC= SRC=192.0.2.1 DST=192.0.2.2 LEN=29 TOS=0x00 PREC=0x00 TTL=64 ID=1 DF PROTO=UDP SPT=4000 DPT=PORT LEN=9 \n";

fn line(port: u16) -> Vec<u8> {
    LINE.replace("PORT", &port.to_string()).into_bytes()
}

fn capture_of(source: &LogSource, descriptor: OwnedFd, next: &NextFile) -> LogCapture {
    LogCapture::new(source, descriptor, Arc::clone(next), "KNOCK ".to_owned())
}

/// The ports of the hits, until a pause without one.
fn ports(capture: &mut LogCapture) -> Vec<u16> {
    let mut ports = Vec::new();
    let mut pauses = 0;
    while pauses < 3 {
        match capture.next_hit().unwrap() {
            Some(hit) => ports.push(hit.port),
            None => pauses += usize::from(capture.waits()),
        }
    }
    ports
}

#[test]
fn rotated_and_cut_files_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut first = File::create(path("a")).unwrap();
    let next = NextFile::default();
    let opened = File::open(path("a")).unwrap();
    let mut capture = capture_of(&LogSource::File(path("a")), opened.into(), &next);
    first
        .write_all(&[line(1), b"junk\n".to_vec(), line(2)[..40].to_vec()].concat())
        .unwrap();
    assert_eq!(ports(&mut capture), [1]);
    // The daemon still writes to the old file while the new one is empty.
    let mut second = File::create(path("b")).unwrap();
    next.lock()
        .unwrap()
        .replace(File::open(path("b")).unwrap().into());
    first.write_all(&line(2)[40..]).unwrap();
    assert_eq!(ports(&mut capture), [2]);
    first.write_all(&line(3)).unwrap();
    second.write_all(&line(4)).unwrap();
    assert_eq!(ports(&mut capture), [3, 4]);
    assert!(next.lock().unwrap().is_none());
    // Cut, and then shorter than before.
    second.write_all(&line(5)).unwrap();
    assert_eq!(ports(&mut capture), [5]);
    second.set_len(0).unwrap();
    let mut again = File::options().append(true).open(path("b")).unwrap();
    again.write_all(&line(6)).unwrap();
    assert_eq!(ports(&mut capture), [6]);
    assert_eq!(capture.counters.malformed.load(Ordering::Relaxed), 0);
}

#[test]
fn malformed_line_is_counted_only() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let mut capture = capture_of(&LogSource::Journal, reader.into(), &NextFile::default());
    let entry = |facility: u8| {
        let text = String::from_utf8(line(7)).unwrap();
        let (_, text) = text.trim_end().split_once("] ").unwrap();
        format!(
            "{{\"MESSAGE\":\"{text}\",\"_TRANSPORT\":\"kernel\",\"SYSLOG_FACILITY\":\"{facility}\"}}\n"
        )
    };
    writer.write_all(entry(1).as_bytes()).unwrap();
    writer.write_all(&[b'x'; LINE_MAX + 2]).unwrap();
    writer
        .write_all(format!("\n{}", entry(0)).as_bytes())
        .unwrap();
    assert_eq!(ports(&mut capture), [7]);
    assert_eq!(capture.counters.malformed.load(Ordering::Relaxed), 2);
}
