//! Each setting of access.conf and fwknopd.conf.

use super::*;
use crate::admin::import::table::{ACCESS, FWKNOPD};
use crate::model::foreign::Verdict;

#[test]
fn stanza_becomes_a_user() {
    let made = stanza(
        "OPEN_PORTS tcp/22, udp/53\nRESTRICT_PORTS tcp/80\nFW_ACCESS_TIMEOUT 60\nMAX_FW_TIMEOUT 600\n\
         REQUIRE_USERNAME alice\nREQUIRE_SOURCE_ADDRESS Y\nACCESS_EXPIRE 06/30/2027\nHMAC_DIGEST_TYPE SHA512\n\
         ENCRYPTION_MODE CBC\nUSE_HMAC Y\n",
    );
    assert_eq!(said(&made), [""; 0]);
    let user = &made.users[0];
    let expected = "name = \"alice\"\n\
        fwknop = { key = \"c2VjcmV0LWtleS1vZi1hbGljZQ==\", hmac_key = \"c2VjcmV0LWhtYWMtb2YtYWxpY2U=\", hmac = \"sha512\", username = \"alice\" }\n\
        services = [\"tcp/22\", \"udp/53\"]\nfrom = [\"0.0.0.0/0\"]\nnetworks = [\"0.0.0.0/0\"]\nduration = \"60s\"\n\
        max_duration = \"600s\"\ngrant_to = \"claimed\"\nexpires = 2027-06-30T00:00:00+02:00\n";
    assert_eq!(*user.toml.full, expected);
    assert!(!user.toml.masked.contains("c2Vj") && user.toml.masked.contains("key = \"…\""));
    assert!(!format!("{user:?}").contains("c2Vj"));
}

#[test]
fn values_of_a_stanza_are_kept() {
    for (lines, key, value) in [
        ("", "duration", "30s"),
        ("", "max_duration", "300s"),
        ("FW_ACCESS_TIMEOUT 3600", "duration", "3600s"),
        ("FW_ACCESS_TIMEOUT 3600", "max_duration", "3600s"),
        (
            "FW_ACCESS_TIMEOUT 3600\nMAX_FW_TIMEOUT 3600",
            "duration",
            "3600s",
        ),
        ("FW_ACCESS_TIMEOUT 0", "duration", "30s"),
        ("MAX_FW_TIMEOUT 10", "max_duration", "30s"),
        (
            "ACCESS_EXPIRE 6/1/27",
            "expires",
            "2027-06-01T00:00:00+02:00",
        ),
        ("REQUIRE_SOURCE y", "grant_to", "claimed"),
        (
            "ACCESS_EXPIRE_EPOCH 1800000000",
            "expires",
            "2027-01-15T08:00:00Z",
        ),
        ("MAX_FW_TIMEOUT 99999999", "max_duration", "2592000s"),
    ] {
        let user = only_user(&stanza(lines));
        let found = user[key]
            .as_str()
            .map_or_else(|| user[key].to_string(), str::to_owned);
        assert_eq!(found, value, "{lines}");
    }
    let text = format!("SOURCE: 10.1.2.3/24, 192.0.2.1;\n{KEY}{HMAC}");
    let user = only_user(&import(&[("access.conf", &text)]));
    assert_eq!(
        user["from"].to_string(),
        "[\"10.1.2.0/24\", \"192.0.2.1/32\"]"
    );
    let text = "SOURCE: ANY;\nKEY: fwknoptest;\nENCRYPTION_MODE legacy\n";
    let fwknop = &only_user(&import(&[("access.conf", text)]))["fwknop"];
    assert_eq!(fwknop["key"].as_str(), Some("Zndrbm9wdGVzdA=="));
    assert_eq!(fwknop["mode"].as_str(), Some("legacy"));
    assert_eq!(fwknop["insecure_without_hmac"].as_bool(), Some(true));
}

/// Each line, and a part of what is said to it.
#[test]
fn wrong_lines_are_refused_with_their_message() {
    for (lines, part) in [
        ("DESTINATION host", "access.conf:4: DESTINATION refused"),
        (
            "OPEN_PORTS 22",
            "OPEN_PORTS refused: this is no list of ports",
        ),
        ("RESTRICT_PORTS AAAA", "RESTRICT_PORTS refused"),
        (
            "OPEN_PORTS tcp/22\nRESTRICT_PORTS tcp/22",
            "takes away all ports",
        ),
        (
            "FW_ACCESS_TIMEOUT -1",
            "FW_ACCESS_TIMEOUT refused: this is no length of time",
        ),
        ("MAX_FW_TIMEOUT x", "MAX_FW_TIMEOUT refused"),
        (
            "HMAC_DIGEST_TYPE invalid",
            "HMAC_DIGEST_TYPE refused: this is no digest",
        ),
        (
            "ENCRYPTION_MODE CTR",
            "ENCRYPTION_MODE refused: Postern reads the modes CBC and legacy",
        ),
        ("ENCRYPTION_MODE legacy", "never have an HMAC"),
        (
            "ACCESS_EXPIRE 2027-06-30",
            "ACCESS_EXPIRE refused: this is no day",
        ),
        ("ACCESS_EXPIRE_EPOCH -1", "ACCESS_EXPIRE_EPOCH refused"),
        (
            "ACCESS_EXPIRE 1/1/2027\nACCESS_EXPIRE_EPOCH 1",
            "remove one of the two",
        ),
        ("KEY secret", "the same key is there in base64, too"),
        ("HMAC_KEY secret", "the same key is there in base64, too"),
        (
            "OPEN_PORT tcp/22",
            "access.conf:4: refused: fwknopd has no setting of this name",
        ),
        ("open_ports tcp/22", "fwknopd has no setting of this name"),
        (
            "OPEN_PORTS",
            "access.conf:4: refused: the line has no value",
        ),
        (
            "OPEN_PORTS tcp/22\nOPEN_PORTS tcp/22",
            "access.conf:5: OPEN_PORTS refused: it is given twice",
        ),
        ("FORWARD_ALL Y", "FORWARD_ALL refused"),
        ("DISABLE_DNAT Y", "DISABLE_DNAT refused"),
        (
            "FORCE_NAT 10.0.0.5",
            "FORCE_NAT refused: this is no address with a port",
        ),
        ("FORCE_NAT 127.0.0.1 22", "FORCE_NAT refused"),
        (
            "FORCE_NAT 10.0.0.5 22\nRESTRICT_PORTS tcp/22",
            "RESTRICT_PORTS has its port",
        ),
        (
            "FORCE_SNAT 10.0.0.1",
            "FORCE_SNAT refused: it needs FORCE_NAT",
        ),
        (
            "FORCE_MASQUERADE Y",
            "FORCE_MASQUERADE refused: it needs FORCE_NAT",
        ),
        (
            "CMD_CYCLE_CLOSE /bin/a",
            "CMD_CYCLE_CLOSE refused: it needs CMD_CYCLE_OPEN",
        ),
        (
            "CMD_CYCLE_TIMER 1",
            "CMD_CYCLE_TIMER refused: it needs CMD_CYCLE_OPEN",
        ),
        (
            "CMD_CYCLE_OPEN /bin/a $PORT",
            "CMD_CYCLE_OPEN refused: without OPEN_PORTS",
        ),
        (
            "OPEN_PORTS tcp/1\nCMD_CYCLE_OPEN /bin/a $PKT_SRC",
            "Postern has no value for $PKT_SRC",
        ),
        (
            "OPEN_PORTS tcp/1\nCMD_CYCLE_OPEN /bin/a | b",
            "which only a shell understands",
        ),
        (
            "OPEN_PORTS tcp/1\nCMD_CYCLE_OPEN /bin/a\nCMD_CYCLE_CLOSE b",
            "absolute path",
        ),
        (
            "OPEN_PORTS tcp/1\nCMD_CYCLE_OPEN /bin/a\nFORCE_NAT 10.0.0.5 22",
            "exclude each other",
        ),
    ] {
        let made = stanza(lines);
        expect_refused(&made, part, lines);
    }
}

#[test]
fn wrong_keys_and_sources_are_refused() {
    for (text, part) in [
        ("SOURCE ANY\n".to_owned(), "the stanza has no key"),
        (
            format!("SOURCE host\n{KEY}{HMAC}"),
            "SOURCE refused: this is no list of networks",
        ),
        (
            format!("SOURCE ANY\n{HMAC}GPG_DECRYPT_ID ABCD1234\n"),
            "GPG_DECRYPT_ID refused",
        ),
        (
            format!("SOURCE ANY\n{HMAC}GPG_ALLOW_NO_PW Y\n"),
            "GPG_ALLOW_NO_PW refused",
        ),
        (
            "SOURCE ANY\nKEY_BASE64 __CHANGEME__\n".to_owned(),
            "still the text that the package ships",
        ),
        ("SOURCE ANY\nKEY_BASE64 a b\n".to_owned(), "is not base64"),
        (format!("SOURCE ANY\n{KEY}USE_HMAC Y\n"), "USE_HMAC refused"),
        (
            "SOURCE ANY\nKEY same\nHMAC_KEY same\n".to_owned(),
            "both keys are the same",
        ),
    ] {
        let made = import(&[("access.conf", &text)]);
        let said = said(&made).join("\n");
        assert!(said.contains(part), "{text}: {said}");
        assert!(
            made.findings.has_refused() && made.users.is_empty(),
            "{text}: {said}"
        );
        assert!(!said.contains("c2Vj") && !said.contains("same\n"), "{said}");
    }
}

#[test]
fn narrowed_lines_keep_their_user() {
    for (lines, part) in [
        ("ENABLE_CMD_EXEC Y", "ENABLE_CMD_EXEC narrowed"),
        (
            "OPEN_PORTS tcp/22\nCMD_CYCLE_OPEN /bin/a $PORT",
            "the program runs for the ports of OPEN_PORTS only",
        ),
        (
            "ENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody",
            "CMD_EXEC_USER narrowed",
        ),
        (
            "GPG_DECRYPT_ID ABCD\nGPG_DECRYPT_PW secret",
            "GPG_DECRYPT_ID narrowed",
        ),
        (
            "FORCE_NAT 10.0.0.5 22\nFORWARD_ALL Y",
            "FORWARD_ALL narrowed: only the ports of FORCE_NAT",
        ),
        (
            "FORCE_NAT 10.0.0.5 22",
            "FORCE_NAT narrowed: without OPEN_PORTS only tcp/22",
        ),
        (
            "OPEN_PORTS tcp/22\nFORCE_NAT 10.0.0.5 22\nFORCE_SNAT 10.0.0.1",
            "FORCE_SNAT narrowed",
        ),
    ] {
        let made = stanza(lines);
        let said = said(&made).join("\n");
        assert!(
            said.contains(part) && !said.contains("secret"),
            "{lines}: {said}"
        );
        assert!(!made.findings.has_refused(), "{said}");
        only_user(&made);
    }
}

#[test]
fn forwards_and_programs_become_services() {
    let service = |lines: &str| {
        let made = stanza(lines);
        let user = only_user(&made);
        assert_eq!(
            user["services"][0].as_str(),
            Some(made.services[0].name.as_str())
        );
        made.services[0].toml.full.to_string()
    };
    assert_eq!(
        service("OPEN_PORTS tcp/2222\nFORCE_NAT 10.0.0.5 22\nFORCE_MASQUERADE Y"),
        "[service.fwknop-1-tcp-2222]\nports = [\"tcp/2222\"]\nforward = \"10.0.0.5:22\"\nmasquerade = true\n"
    );
    assert_eq!(
        service(
            "OPEN_PORTS tcp/7\nCMD_CYCLE_OPEN /bin/a $IP\nCMD_CYCLE_CLOSE /bin/b $PORT\nCMD_CYCLE_TIMER 9"
        ),
        "[service.fwknop-1-tcp-7-run]\nports = [\"udp/9\"]\non_open = [\"/bin/a\", \"{address}\"]\non_close = [\"/bin/b\", \"7\"]\n"
    );
    assert_eq!(
        service("CMD_CYCLE_OPEN /bin/a $IP\nCMD_CYCLE_CLOSE NONE"),
        "[service.fwknop-1-run]\nports = [\"udp/9\"]\non_open = [\"/bin/a\", \"{address}\"]\n"
    );
    let access = |lines: &str| only_user(&stanza(lines))["fwknop"]["access"].to_string();
    assert_eq!(
        access("OPEN_PORTS tcp/7\nCMD_CYCLE_OPEN /bin/a $PORT\nCMD_CYCLE_CLOSE NONE"),
        "{ \"tcp/7\" = \"fwknop-1-tcp-7-run\" }"
    );
    assert_eq!(
        access("DESTINATION 10.0.0.1\nCMD_CYCLE_OPEN /bin/a $DST\nCMD_CYCLE_CLOSE NONE"),
        "{ any = \"fwknop-1-run\" }"
    );
    let rule =
        |change: &str| format!("/sbin/iptables {change} INPUT -s $IP -p tcp --dport 22 -j ACCEPT");
    let lines = format!(
        "CMD_CYCLE_OPEN {}\nCMD_CYCLE_CLOSE {}\nCMD_CYCLE_TIMER 9",
        rule("-A"),
        rule("-D")
    );
    // The rule is for one port, whatever port the client asks for.
    assert_eq!(
        service(&lines),
        "[service.fwknop-1-run]\nports = [\"tcp/22\"]\n"
    );
    for (open, services) in [
        ("", "[\"tcp/1-65535\", \"udp/1-65535\"]"),
        ("OPEN_PORTS tcp/80, udp/53", "[\"tcp/80\", \"udp/53\"]"),
    ] {
        let made = stanza(&format!(
            "{open}\n{}",
            lines.replace("tcp --dport 22", "$PROTO --dport $PORT")
        ));
        let user = only_user(&made);
        assert_eq!(user["services"].to_string(), services, "{:?}", said(&made));
        assert_eq!(
            (user["duration"].as_str(), made.services.len()),
            (Some("9s"), 0)
        );
    }
}

#[test]
fn every_setting_of_access_is_known() {
    for row in ACCESS.iter().filter(|row| !row.name.starts_with('%')) {
        let said = said(&stanza(&format!("{} Y", row.name))).join("\n");
        assert!(!said.contains("no setting of this name"), "{said}");
        if row.verdict == Verdict::Refuse && !row.name.starts_with("GPG") {
            assert!(
                said.contains(&format!("{} refused: {}; {}", row.name, row.why, row.cure)),
                "{said}"
            );
        }
    }
}

#[test]
fn every_setting_of_fwknopd_has_its_verdict() {
    let access = format!("SOURCE ANY\n{KEY}{HMAC}OPEN_PORTS tcp/22\n");
    for row in FWKNOPD {
        let value = match row.name {
            "MAX_SPA_PACKET_AGE" => "30",
            "ENABLE_SPA_PACKET_AGING" | "ENABLE_DIGEST_PERSISTENCE" => "N",
            "UDPSERV_PORT" | "NFQ_PORT" => "62201",
            name if name.ends_with("_ACCESS") => "ACCEPT, filter, CHAIN, 1, FWKNOP, 1",
            _ => "Y",
        };
        let chain = row.name.split('_').nth(1).unwrap_or_default();
        let text = format!("{} {value};\n", row.name).replace("CHAIN", chain);
        let made = import(&[("fwknopd.conf", &text), ("access.conf", &access)]);
        let said = said(&made).join("\n");
        let refused = row.verdict == Verdict::Refuse;
        assert_eq!(made.findings.has_refused(), refused, "{text}: {said}");
        if row.verdict >= Verdict::Narrow {
            assert!(
                said.contains(row.why) && said.contains(row.cure),
                "{text}: {said}"
            );
        }
        // A restriction that cannot be kept keeps every stanza out.
        let blocks = [
            "MAX_SPA_PACKET_AGE",
            "ENABLE_DESTINATION_RULE",
            "ENABLE_EXTERNAL_CMDS",
        ];
        assert_eq!(
            made.users.is_empty(),
            blocks.contains(&row.name),
            "{text}: {said}"
        );
    }
}

#[test]
fn settings_of_fwknopd_change_stanzas() {
    let nat = format!("SOURCE ANY\n{KEY}{HMAC}OPEN_PORTS tcp/22\nFORCE_NAT 10.0.0.5 22\n");
    let made = import(&[
        ("access.conf", &nat),
        (
            "fwknopd.conf",
            "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP __CHANGEME__;\n",
        ),
    ]);
    assert!(made.services[0].toml.full.contains("masquerade = true"));
    // fwknopd does not start with this.
    let made = import(&[("access.conf", &nat), ("fwknopd.conf", "# empty\n")]);
    assert!(
        made.users.is_empty()
            && said(&made)[0].contains("FORCE_NAT refused: fwknopd takes it only")
    );
    for (text, part) in [
        ("PCAP_INTF eth0;", "interfaces = [\"eth0\"]"),
        ("PCAP_FILTER udp port 62202;", "port = 62202"),
        ("ENABLE_UDP_SERVER Y;", "capture = \"udp\""),
        ("UDPSERV_PORT 5000;", "port = 5000"),
        ("MAX_SPA_PACKET_AGE 300;", "MAX_SPA_PACKET_AGE narrowed"),
        (
            "IPT_INPUT_ACCESS DROP, filter, INPUT, 1, X, 1;",
            "the target is not ACCEPT",
        ),
        (
            "IPT_INPUT_ACCESS ACCEPT, filter, INPUT, -1, X, 1;",
            "in another chain than usual",
        ),
        (
            "FWKNOP_RUN_DIR /x;\nPCAP_INTF $FWKNOP_RUN_DIR/y;",
            "interfaces = [\"NAME\"]",
        ),
        (
            "NONSENSE 1;\nPCAP_INTF eth0;",
            "fwknopd.conf:1: refused: fwknopd.conf has no setting of this name",
        ),
    ] {
        let said = said(&import(&[("fwknopd.conf", text)])).join("\n");
        assert!(said.contains(part), "{text}: {said}");
    }
}
