//! A script in the place of the programs of iptables, for one gate alone: it lies over them in a mount namespace of the gate's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{World, run};

/// Where the real program stands then: in a folder of programs, for the monitor may run none from elsewhere.
const FOLDER: &str = "/usr/local/sbin";
pub(crate) const REAL: &str = "/usr/local/sbin/real";

/// From now on whatever the gate starts by the name of `iptables-restore`, `ip6tables-save` and so on is this script. `FOLDER` in
/// it is the world's folder, and `REAL` the program itself, which takes its role as its first argument.
pub(crate) fn lay_over_iptables(world: &World, script: &str) {
    let folder = world.folder().display().to_string();
    let path = world.folder().join("script");
    fs::write(&path, script.replace("FOLDER", &folder).replace("REAL", REAL)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let programs = world.folder().join("programs");
    fs::create_dir(&programs).unwrap();
    fs::write(programs.join("real"), "").unwrap();
    world.gate.run(|| nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap());
    let real = fs::canonicalize("/usr/sbin/iptables-restore").unwrap().display().to_string();
    for other in ["ip6tables-restore", "iptables-save", "ip6tables-save"] {
        let other = fs::canonicalize(format!("/usr/sbin/{other}")).unwrap().display().to_string();
        assert_eq!(other, real, "one program plays all roles");
    }
    let (programs, script) = (programs.display().to_string(), path.display().to_string());
    for arguments in [&["--make-rprivate", "/"][..], &["--bind", &programs, FOLDER], &["--bind", &real, REAL], &["--bind", &script, &real]]
    {
        let ran = run(&world.gate, "mount", arguments);
        assert!(ran.status.success(), "mount {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}
