//! Lines that a kernel wrote (Linux 6.18), and changes of them.

use proptest::prelude::*;

use super::*;
use crate::core::sequence::Tcp;
use postern_proto::Protocol;

const HEAD: &str =
    "IN=v0 OUT= MAC=26:11:08:2f:11:cf:56:e6:f4:5e:fe:23:08:00 SRC=10.9.0.1 DST=10.9.0.2 ";
const HEAD_6: &str = "IN=v0 OUT= MACSRC=56:e6:f4:5e:fe:23 MACDST=26:11:08:2f:11:cf MACPROTO=86dd SRC=fd09:0000:0000:0000:0000:0000:0000:0001 DST=fd09:0000:0000:0000:0000:0000:0000:0002 ";
const SYN: &str = "LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=13965 DF PROTO=TCP SPT=57866 DPT=5005 SEQ=1205682793 ACK=0 WINDOW=64240 RES=0x00 SYN URGP=0 ";
const SYN_6: &str = "LEN=80 TC=0 HOPLIMIT=64 FLOWLBL=865093 PROTO=TCP SPT=57866 DPT=5005 WINDOW=64800 RES=0x00 SYN URGP=0 OPT (020405A00402080A308F77AB000000000103030A) ";
const UDP: &str =
    "LEN=29 TOS=0x00 PREC=0x00 TTL=64 ID=54814 DF PROTO=UDP SPT=57866 DPT=5005 LEN=9 ";

fn hit(source: &str, tcp: Option<Option<u32>>) -> LineRead {
    LineRead::Hit(Hit {
        source: source.parse().unwrap(),
        protocol: if tcp.is_some() {
            Protocol::Tcp
        } else {
            Protocol::Udp
        },
        port: 5005,
        source_port: 57866,
        tcp: tcp.map(|sequence| Tcp { flags: 2, sequence }),
    })
}

fn kmsg(text: &str) -> LineRead {
    read(
        Format::Kmsg,
        format!("4,2991,48074610490,-;{text}\n").as_bytes(),
        "KNOCK",
    )
}

#[test]
fn lines_of_the_kernel_are_hits() {
    for (text, expected) in [
        (
            format!("KNOCK {HEAD}{SYN}"),
            hit("10.9.0.1", Some(Some(1_205_682_793))),
        ),
        (format!("KNOCK{HEAD}{UDP}"), hit("10.9.0.1", None)),
        (format!("KNOCK{HEAD_6}{SYN_6}"), hit("fd09::1", Some(None))),
    ] {
        assert_eq!(kmsg(&text), expected, "{text}");
        let journal = format!(
            r#"{{"_TRANSPORT":"kernel","__CURSOR":"s=1","MESSAGE":"{text}","SYSLOG_FACILITY":"0"}}"#
        );
        assert_eq!(read(Format::Journal, journal.as_bytes(), "KNOCK"), expected);
        for head in [
            "2026-11-29T16:49:06.123456+00:00 gate kernel: [48074.610490] ",
            "Nov  9 16:49:06 gate kernel: ",
        ] {
            let line = format!("{head}{text}");
            assert_eq!(read(Format::File, line.as_bytes(), "KNOCK"), expected);
        }
    }
}

#[test]
fn lines_of_user_space_are_no_hits() {
    let text = format!("KNOCK {HEAD}{SYN}");
    let record = format!("12,2991,1,-;{text}\n");
    assert_eq!(
        read(Format::Kmsg, record.as_bytes(), "KNOCK"),
        LineRead::Malformed
    );
    for (transport, facility) in [
        ("syslog", "0"),
        ("kernel", "1"),
        ("journal", "0"),
        ("stdout", "0"),
    ] {
        let line = format!(
            r#"{{"_TRANSPORT":"{transport}","SYSLOG_FACILITY":"{facility}","MESSAGE":"{text}"}}"#
        );
        assert_eq!(
            read(Format::Journal, line.as_bytes(), "KNOCK"),
            LineRead::Malformed
        );
    }
    for line in [
        "{}",
        "[]",
        r#"{"_TRANSPORT":"kernel","SYSLOG_FACILITY":"0","MESSAGE":[75,78]}"#,
    ] {
        assert_eq!(
            read(Format::Journal, line.as_bytes(), "KNOCK"),
            LineRead::Other
        );
    }
}

#[test]
fn other_lines_are_no_hits() {
    for text in [
        format!("KNOC {HEAD}{SYN}"),
        format!(" KNOCK {HEAD}{SYN}"),
        format!("x\nKNOCK {HEAD}{SYN}"),
        String::new(),
    ] {
        assert_eq!(kmsg(&text), LineRead::Other, "{text}");
    }
    let whole = format!("{HEAD}{SYN}");
    for (found, put) in [
        ("IN=v0 ", ""),
        ("IN=v0", "IN="),
        ("IN=v0", "IN=v\t0"),
        ("IN=v0", "IN=0123456789abcdef"),
        ("OUT= ", ""),
        ("OUT=", "OUT=v1"),
        ("SRC=10.9.0.1 ", ""),
        ("SRC=10.9.0.1", "SRC=10.9.0.01"),
        ("SRC=10.9.0.1", "SRC=fd09::1"),
        ("DST=10.9.0.2 ", ""),
        ("DPT=5005", "DPT=65536"),
        ("DPT=5005", "DPT=+5005"),
        ("DPT=5005 ", ""),
        ("SPT=57866 ", ""),
        ("DF ", "MF "),
        ("DF ", "FRAG:185 "),
        ("DF ", "DF DF "),
        ("DF ", "DF  "),
        ("PROTO=TCP", "PROTO=UDP"),
        ("PROTO=TCP", "PROTO=UDPLITE"),
        ("PROTO=TCP", "PROTO=6"),
        ("SYN ", "SYN SYN "),
        ("URGP=0 ", ""),
        ("URGP=0 ", "URGP=0 LEN=9 "),
        ("URGP=0 ", "URGP=0 DPT=22 "),
        ("URGP=0 ", "URGP=0 NEW=1 "),
        ("RES=0x00", "RES=00"),
        ("LEN=60 ", ""),
        ("KNOCK ", "KNOCK  "),
        ("SEQ=1205682793", "SEQ=4294967296"),
    ] {
        let text = format!("KNOCK {whole}").replacen(found, put, 1);
        assert_eq!(kmsg(&text), LineRead::Malformed, "{text}");
    }
    let long = format!("KNOCK {whole}OPT ({})", "0".repeat(1024));
    assert_eq!(kmsg(&long), LineRead::Malformed);
}

#[test]
fn cut_lines_are_no_hits() {
    for (head, rest) in [(HEAD, SYN), (HEAD, UDP), (HEAD_6, SYN_6)] {
        let whole = format!("KNOCK {head}{rest}");
        // Without the blank at the end, and TCP without its options, a line is whole.
        let least = whole.find(" OPT").unwrap_or(whole.len() - 1);
        for length in 0..least - 1 {
            let is_hit = matches!(kmsg(&whole[..length]), LineRead::Hit(_));
            assert!(!is_hit, "{}", &whole[..length]);
        }
    }
}

#[test]
fn long_lines_are_left_out_and_counted() {
    let mut lines = Lines::default();
    lines.push(b"one\ntw");
    assert_eq!(lines.next_line(), Some(&b"one"[..]));
    assert_eq!(lines.next_line(), None);
    lines.push(b"o\n");
    assert_eq!(lines.next_line(), Some(&b"two"[..]));
    for _ in 0..4 {
        lines.push(&[b'x'; LINE_MAX]);
        assert_eq!(lines.next_line(), None);
    }
    lines.push(b"x\nthree\n");
    assert_eq!(lines.next_line(), Some(&b"three"[..]));
    assert!((1..=4).contains(&lines.take_too_long()));
}

proptest! {
    #[test]
    fn no_bytes_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Kmsg, Format::Journal, Format::File] {
            let _ = read(format, &line, "KNOCK");
        }
    }
}
