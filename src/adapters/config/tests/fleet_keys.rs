//! The file of fleet keys.

use super::*;

#[test]
fn fleet_keys_are_read_in_their_order() {
    let cluster = "[cluster]\ncoordinator = \"etcd\"\nendpoints = [\"http://10.0.0.1\"]\n\
                   fleet_key_file = \"fleet.key\"\n";
    let main = format!("[gate]\nname = \"gate\"\n{cluster}");
    let named = key_files(&bundle(&main, &[]));
    assert_eq!(named, [std::path::PathBuf::from("/etc/postern/fleet.key")]);
    let load = |text: &str| {
        let mut bundle = bundle(&main, &[]);
        bundle
            .keys
            .push(BundleFile::new("/etc/postern/fleet.key", text));
        super::super::load(&bundle)
    };
    let (one, two) = (KEY.to_owned(), KEY.replace("AAE", "BBE"));
    let keys = load(&format!("{one}\n{two}\n")).unwrap().fleet_keys;
    let gate = postern_proto::GateName::new("gate").unwrap();
    let expected = [one.clone(), two].map(|key| {
        let key = postern_proto::SharedKey::from_base64(&key).unwrap();
        postern_proto::FleetKey::derive(&gate, &key).name(b"")
    });
    let found: Vec<[u8; 16]> = keys.iter().map(|key| key.name(b"")).collect();
    assert_eq!(found, expected);
    for wrong in [
        "",
        &format!("{one}\n{one}\n"),
        &KEY[1..],
        &format!("{one}\n").repeat(5),
    ] {
        let problems = load(wrong).unwrap_err();
        let text = problems.to_string();
        assert!(
            text.contains("fleet.key") && !text.contains(&KEY[1..20]),
            "{text}"
        );
    }
}
