//! What nmap sees, in both families.

use postern_harness::{Client, FAMILIES, Family, GateConfig, SERVICE, World};

/// Filtered before the knock, open after it, filtered from the other address all the while, filtered after the end.
pub(crate) fn nmap_sees_the_port_only_during_the_grant(backend: &'static str) {
    let world = World::start(&GateConfig::new(backend));
    assert_eq!(
        everywhere(&world),
        [("filtered", "filtered"); 2],
        "before the knock"
    );
    world.open_both("10m");
    let seen = everywhere(&world);
    assert_eq!(seen, [("open", "filtered"); 2], "after the knock");
    world.daemon.asked(&["close", "--all"]);
    assert_eq!(
        everywhere(&world),
        [("filtered", "filtered"); 2],
        "after the end"
    );
}

/// By family: what the first client sees, and what the second.
fn everywhere(world: &World) -> [(&'static str, &'static str); 2] {
    std::thread::scope(|scope| {
        let scans = FAMILIES.map(|family| {
            [&world.first, &world.second].map(|client| scope.spawn(move || scan(client, family)))
        });
        scans.map(|[first, second]| (first.join().unwrap(), second.join().unwrap()))
    })
}

/// What nmap calls the port.
fn scan(client: &Client, family: Family) -> &'static str {
    let (port, gate) = (SERVICE.to_string(), family.address(1).to_string());
    let six = if family == Family::V6 { "-6" } else { "" };
    let options = "-Pn -n --max-retries 1 -oG - -sS";
    let said = client
        .space
        .sh(&format!("nmap {options} {six} -p {port} {gate}"));
    let state = said
        .split(&format!("Ports: {port}/"))
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    let known = ["open", "filtered", "closed"]
        .into_iter()
        .find(|word| Some(*word) == state);
    known.unwrap_or_else(|| panic!("nmap said: {said}"))
}
