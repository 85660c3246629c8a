//! Fields that must be refused, each with its reason, in packets with a right mac.

use crate::support::{b64, digested, open, packet, user};
use postern_fwknop::{Allow, Message, Reason};

const HEAD: &str = "1939033380625416:YWxpY2U:1795333319:3.0.0";

/// The fields of a packet of this type and message.
fn fields(kind: u8, message: &str, extra: &str) -> String {
    format!("{HEAD}:{kind}:{}{extra}", b64(message.as_bytes()))
}

fn opens(fields: &str) -> Result<Message, Reason> {
    let opened = open(&user(), packet(&digested(fields)).as_bytes())?;
    Ok(opened.request.message)
}

fn refused(fields: &str) -> Reason {
    match opens(fields) {
        Ok(message) => panic!("{fields} opens as {message:?}"),
        Err(reason) => reason,
    }
}

fn nat(target: &str) -> String {
    format!(":{}", b64(target.as_bytes()))
}

#[test]
fn forged_fields_open_where_nothing_is_wrong() {
    assert!(opens(&fields(1, "203.0.113.7,tcp/22", "")).is_ok());
    assert!(opens(&fields(1, "203.0.113.7,tcp/22", ":YXV0aA")).is_ok());
    assert!(opens(&fields(3, "203.0.113.7,tcp/22", ":YXV0aA:60")).is_ok());
    assert!(
        opens(&fields(
            6,
            "203.0.113.7,tcp/22",
            &(nat("::1,22") + ":YXV0aA:0")
        ))
        .is_ok()
    );
    assert!(opens(&fields(0, "0.0.0.0,a command", "")).is_ok());
}

#[test]
fn spare_bits_inside_are_refused() {
    // `MjAzLjAuMTEzLjcsdGNwLzIy` is canonical; these texts decode to the same message in a lax decoder.
    let message = b64(b"1.2.3.45,tcp/22");
    assert_eq!(message.len(), 20);
    let other = b64(b"1.2.3.4,tcp/22");
    let lax = format!("{}J", &other[..other.len() - 1]);
    for (fields, reason) in [
        (format!("{HEAD}:1:{lax}"), Reason::Message),
        (format!("{HEAD}:1:{message}="), Reason::Message),
        (format!("{HEAD}:1:{message}A"), Reason::Message),
        (fields(2, "1.2.3.4,tcp/22", ":MTAuMC4wLjEsMjJ"), Reason::Nat),
        (fields(1, "1.2.3.4,tcp/22", ":YXV0aB"), Reason::ServerAuth),
        (fields(1, "1.2.3.4,tcp/22", ":YQ=="), Reason::ServerAuth),
        (
            "1939033380625416:YWxpY2V:1795333319:3.0.0:1:MS4yLjMuNCx0Y3AvMjI".into(),
            Reason::User,
        ),
        (
            "1939033380625416:YQ==:1795333319:3.0.0:1:MS4yLjMuNCx0Y3AvMjI".into(),
            Reason::User,
        ),
    ] {
        assert_eq!(refused(&fields), reason, "{fields}");
    }
}

#[test]
fn numbers_have_one_text() {
    for port in [
        "tcp/0",
        "tcp/00",
        "tcp/01",
        "tcp/022",
        "tcp/+22",
        "tcp/-22",
        "tcp/ 22",
        "tcp/22 ",
        "tcp/22x",
        "tcp/0x16",
        "tcp/65536",
        "tcp/65558",
        "tcp/4294967318",
        "tcp/",
        "tcp",
        "/22",
        "TCP/22",
        "icmp/8",
        "sctp/22",
        "none/0",
        "tcp//22",
        "tcp/22/",
        "tcp/22-23",
        "tcp/22;udp/53",
        "tcp/٢٢",
        "",
        "tcp/22,",
        ",tcp/22",
        "tcp/22,,tcp/23",
    ] {
        let reason = refused(&fields(1, &format!("1.2.3.4,{port}"), ""));
        assert_eq!(reason, Reason::Ports, "{port}");
    }
    for timeout in [
        "", "00", "060", "60s", "60 ", " 60", "+60", "-1", "65537", "99999", "100000", "6e1",
    ] {
        let reason = refused(&fields(3, "1.2.3.4,tcp/22", &format!(":{timeout}")));
        assert_eq!(reason, Reason::Timeout, "{timeout}");
    }
    for time in [
        "",
        "01795333319",
        "123x",
        "1795333319 ",
        "+1",
        "-1",
        "1234567890123",
        "1.5",
    ] {
        let fields = format!("1939033380625416:YWxpY2U:{time}:3.0.0:1:MS4yLjMuNCx0Y3AvMjI");
        assert_eq!(refused(&fields), Reason::Time, "{time}");
    }
}

#[test]
fn addresses_have_one_text() {
    for address in [
        "010.60.0.1",
        "10.060.0.1",
        "00.0.0.0",
        "0.0.0.00",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.",
        "1.2..4",
        "0x1.2.3.4",
        "16909060",
        " 1.2.3.4",
        "1.2.3.4 ",
        "::1",
        "::ffff:1.2.3.4",
        "localhost",
        "1.2.3.4/24",
        "",
    ] {
        for kind in [0, 1] {
            let reason = refused(&fields(kind, &format!("{address},tcp/22"), ""));
            assert_eq!(reason, Reason::Address, "{address}");
        }
    }
    let source = open(
        &user(),
        packet(&digested(&fields(1, "0.0.0.0,tcp/22", ""))).as_bytes(),
    );
    assert_eq!(
        source.unwrap().request.allow,
        Allow::Source,
        "never an address to let in"
    );
}

#[test]
fn nat_targets_have_one_text() {
    for target in [
        "",
        ",",
        "10.0.0.1",
        "10.0.0.1,",
        ",22",
        "10.0.0.1,0",
        "10.0.0.1,022",
        "10.0.0.1,65536",
        "10.0.0.1,22,23",
        "10.0.0.1 ,22",
        "10.0.0.1, 22",
        "10.0.0.01,22",
        "010.0.0.1,22",
        "10.0.1,22",
        "0.0.0.0,22",
        "167772161,22",
        "a/b,22",
        "a?b,22",
        "a\"b,22",
        "a'b,22",
        "a\\b,22",
        "a b,22",
        "a\nb,22",
        "é,22",
    ] {
        for kind in [2, 5] {
            let reason = refused(&fields(kind, "1.2.3.4,tcp/22", &nat(target)));
            assert_eq!(reason, Reason::Nat, "{target:?}");
        }
    }
}

#[test]
fn a_message_has_1_to_30_ports() {
    let of = |count| fields(1, &format!("1.2.3.4{}", ",tcp/1".repeat(count)), "");
    assert!(matches!(opens(&of(30)), Ok(Message::Access(ports)) if ports.len() == 30));
    // 31 ports are always more than 256 characters.
    assert_eq!(refused(&of(31)), Reason::Message);
    assert_eq!(refused(&of(0)), Reason::Message);
}

#[test]
fn user_names_have_48_plain_characters() {
    let of = |name: &[u8]| {
        format!(
            "1939033380625416:{}:1795333319:3.0.0:1:MS4yLjMuNCx0Y3AvMjI",
            b64(name)
        )
    };
    assert!(opens(&of(&[b'u'; 48])).is_ok());
    assert_eq!(refused(&of(&[b'u'; 49])), Reason::User);
    assert_eq!(refused(&of(b"")), Reason::User);
    for character in "\0\n\t\x7fé\"*+,/:;<=>?[\\]|".chars() {
        assert_eq!(
            refused(&of(format!("a{character}").as_bytes())),
            Reason::User,
            "{character:?}"
        );
    }
    assert_eq!(refused(&of(b"\xff\xfe")), Reason::User);
}

#[test]
fn each_type_has_its_fields() {
    let (message, nat, auth) = ("1.2.3.4,tcp/22", nat("10.0.0.1,22"), ":YXV0aA");
    let cases = [
        (0, ":60".to_owned()),
        (0, auth.to_owned()),
        (1, format!("{auth}:60")),
        (1, format!("{nat}{auth}")),
        (2, String::new()),
        (2, format!("{nat}:60")),
        (2, format!("{nat}{auth}")),
        (3, String::new()),
        (3, format!("{nat}{auth}:60")),
        (4, String::new()),
        (4, nat.clone()),
        (4, format!("{nat}{auth}:60")),
        (5, String::new()),
        (5, format!("{nat}{auth}:60")),
        (6, nat.clone()),
        (6, format!("{nat}{auth}:60:60")),
    ];
    for (kind, extra) in cases {
        assert_eq!(
            refused(&fields(kind, message, &extra)),
            Reason::Fields,
            "{kind} {extra}"
        );
    }
    for kind in ["", "7", "9", "01", "10", "a", "1 "] {
        let fields = format!("{HEAD}:{kind}:{}", b64(message.as_bytes()));
        assert_eq!(refused(&fields), Reason::Type, "{kind}");
    }
    assert_eq!(refused(&format!("{HEAD}:1")), Reason::Fields);
    assert_eq!(refused(&format!("{HEAD}:1:")), Reason::Message);
    assert_eq!(
        refused("1939033380625416:YWxpY2U:1795333319::1:MS4yLjMuNCx0Y3AvMjI"),
        Reason::Version
    );
    assert_eq!(
        refused("1939033380625416:YWxpY2U:1795333319:123456789:1:MS4yLjMuNCx0Y3AvMjI"),
        Reason::Version
    );
    assert_eq!(
        refused("19390333806254161:YWxpY2U:1:3.0.0:1:MS4yLjMuNCx0Y3AvMjI"),
        Reason::Random
    );
}

#[test]
fn commands_are_text() {
    for command in ["", "a\nb", "a\0", "\x1b[2J", "a\u{85}"] {
        assert_eq!(
            refused(&fields(0, &format!("1.2.3.4,{command}"), "")),
            Reason::Command
        );
    }
    assert_eq!(refused(&fields(0, "a command", "")), Reason::Message);
    let not_utf8 = format!("{HEAD}:0:{}", b64(b"1.2.3.4,a\xff"));
    assert_eq!(refused(&not_utf8), Reason::Message);
}

#[test]
fn a_digest_is_over_the_plaintext() {
    let fields = fields(1, "1.2.3.4,tcp/22", "");
    let right = digested(&fields);
    let digest = |digest: &str| {
        let wire = packet(&format!("{fields}:{digest}"));
        open(&user(), wire.as_bytes()).unwrap_err()
    };
    for len in (0..=90).filter(|len| ![22, 27, 43, 64, 86].contains(len)) {
        assert_eq!(digest(&"A".repeat(len)), Reason::DigestLength, "{len}");
    }
    for len in [22, 27, 43, 64, 86] {
        assert_eq!(digest(&"A".repeat(len)), Reason::Digest, "{len}");
    }
    let other = right.replace("1939033380625416", "1939033380625417");
    assert_eq!(
        open(&user(), packet(&other).as_bytes()).unwrap_err(),
        Reason::Digest
    );
    assert_eq!(
        digest(&format!("{}=", right.rsplit(':').next().unwrap())),
        Reason::DigestLength
    );
}

#[test]
fn text_that_is_not_printable_is_refused() {
    for byte in ["\0", "\n", "é", "\x7f"] {
        let fields = format!("1939033380625416:YWxpY2U:1:3.0{byte}:1:MS4yLjMuNCx0Y3AvMjI");
        assert_eq!(refused(&fields), Reason::Text);
    }
    let long = fields(1, "1.2.3.4,tcp/22", &format!(":{}", "A".repeat(900)));
    assert!(opens(&long).is_ok());
}
