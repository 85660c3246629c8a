//! The independent implementation in `tests/peer`: a client in Python, written from the specification alone.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Namespace, repository};

/// The Python that has the peer's packages.
pub const PYTHON: &str = "/usr/bin/python3";

/// Runs a script of the peer in a namespace and returns its lines of JSON.
pub fn run(namespace: &Namespace, arguments: &[&str], input: &Value) -> Vec<Value> {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let input = input.to_string();
    let output = namespace.run(move || {
        let mut child = Command::new(PYTHON)
            .args(arguments)
            .current_dir(repository().join("tests/peer"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the peer: {errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
