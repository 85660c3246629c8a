//! Kernels that lack parts of the sandbox. A filter answers system calls as such a kernel does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use postern_harness::Namespace;

const POSTERND: &str = env!("CARGO_BIN_EXE_posternd");

const LOOSE: &str = "the sandbox is incomplete: ";

const LACKING: [&str; 4] = [
    "this kernel has no landlock: the process may use every file that its user may use",
    "system calls are not filtered: ",
    "the engine: this kernel has no landlock: the process may use every file that its user may use",
    "the engine: system calls are not filtered: ",
];

fn simulate_an_old_kernel() {
    let filter = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        u64::from(libc::PR_SET_SECCOMP.unsigned_abs()),
    );
    let rules: BTreeMap<i64, Vec<SeccompRule>> = [
        (libc::SYS_landlock_create_ruleset, Vec::new()),
        (libc::SYS_seccomp, Vec::new()),
        (
            libc::SYS_prctl,
            vec![SeccompRule::new(vec![filter.unwrap()]).unwrap()],
        ),
    ]
    .into();
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, missing, arch)
        .unwrap()
        .try_into()
        .unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

fn config(more: &str) -> tempfile::TempDir {
    let folder = crate::folder();
    let path = folder.path().display();
    let text = format!(
        "[gate]\nname = \"gate.test\"\nstate_dir = \"{path}/state\"\ncontrol_socket = \"{path}/run/control.sock\"\nrun_as = \"daemon\"\n\
         [firewall]\nbackend = \"nftables\"\nprotect = \"none\"\n{more}\n"
    );
    crate::write_config(folder.path(), &text);
    folder
}

fn command(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(POSTERND);
    command
        .args([name, "--config"])
        .arg(folder.join("posternd.toml"))
        .env_clear()
        .stdin(Stdio::null());
    command
}

/// The sandbox notes of `posternd check`, without the memory limit, which root cannot lift everywhere.
fn notes(check: &Output) -> Vec<String> {
    let said: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    let findings = said["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["id"] == "sandbox");
    let notes = findings.map(|finding| {
        assert_eq!(finding["level"], "note");
        finding["what"]
            .as_str()
            .unwrap()
            .strip_prefix(LOOSE)
            .unwrap()
            .to_owned()
    });
    notes
        .filter(|note| !note.contains("RLIMIT_MEMLOCK"))
        .collect()
}

#[track_caller]
fn expect_all_gaps(told: &[String]) {
    assert_eq!(told.len(), LACKING.len(), "{told:?}");
    for (told, lacking) in told.iter().zip(LACKING) {
        assert!(told.starts_with(lacking), "{told}");
    }
}

pub(crate) fn check_reports_missing_kernel_parts() {
    let folder = config("");
    let here = folder.path().to_owned();
    let today = Namespace::new();
    let check = today.run(move || command(&here, "check").arg("--json").output().unwrap());
    assert!(check.status.success(), "{check:?}");
    assert_eq!(
        notes(&check),
        Vec::<String>::new(),
        "this kernel has all parts"
    );

    let here = folder.path().to_owned();
    let old = Namespace::new();
    let (check, text, mut daemon) = old.run(move || {
        simulate_an_old_kernel();
        let check = command(&here, "check").arg("--json").output().unwrap();
        let text = command(&here, "check").output().unwrap();
        (
            check,
            text,
            command(&here, "run")
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    });
    assert!(check.status.success(), "a note is no failure: {check:?}");
    expect_all_gaps(&notes(&check));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains(&format!("note: {LOOSE}{} [sandbox]\n", LACKING[0])),
        "{text}"
    );

    // The daemon serves, and logs the same.
    let lines = BufReader::new(daemon.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let log: Vec<String> = lines
        .take_while(|line| !line.contains("the engine serves"))
        .collect();
    let _ = daemon.kill();
    let _ = daemon.wait();
    let told = log
        .iter()
        .filter_map(|line| Some(line.split_once(LOOSE)?.1.to_owned()));
    expect_all_gaps(
        &told
            .filter(|line| !line.contains("RLIMIT_MEMLOCK"))
            .collect::<Vec<_>>(),
    );
}

pub(crate) fn check_reports_config_programs() {
    let folder = config("[service.web]\nports = [\"tcp/80\"]\non_open = [\"/bin/true\"]\n");
    let here = folder.path().to_owned();
    let check =
        Namespace::new().run(move || command(&here, "check").arg("--json").output().unwrap());
    assert_eq!(
        notes(&check),
        ["the monitor keeps all its rights, because programs of the config run with them"],
        "{check:?}"
    );
}
