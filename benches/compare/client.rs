//! The whole process of a client, from its start to its end: Postern's, fwknop's, and a program that does nothing.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_harness::{GateConfig, World, find, postern, seed};

use crate::Plan;
use crate::figures::{Figures, print_table, row, write_csv};

pub(crate) fn measure(plan: &Plan) {
    let world = World::prepare(&GateConfig::new("nftables"));
    let [key, mac] = ["key", "mac"].map(|which| STANDARD.encode(seed(which)));
    let profile = world.write(
        "fwknoprc",
        &format!(
            "[gate]\nSPA_SERVER 10.77.0.1\nACCESS tcp/2222\nALLOW_IP 10.77.0.2\nUSE_HMAC Y\n\
             KEY_BASE64 {key}\nHMAC_KEY_BASE64 {mac}\n"
        ),
    );
    let fwknop = format!("-n gate --rc-file {} --no-save-args", profile.display());
    let config = world.folder().join("alice.toml");
    let clients: Vec<(PathBuf, &str)> = [
        (find("true"), ""),
        (Some(postern().into()), "knock v4"),
        (find("fwknop"), fwknop.as_str()),
    ]
    .into_iter()
    .filter_map(|(program, words)| Some((program?, words)))
    .collect();
    let mut times = vec![Vec::new(); clients.len()];
    let mut lines = Vec::new();
    for round in 0..plan.rounds {
        for turn in 0..clients.len() {
            let number = (round + turn) % clients.len();
            let (program, words) = &clients[number];
            let mut command = Command::new(program);
            command.args(words.split_whitespace()).env_clear();
            command
                .env("POSTERN_CONFIG", &config)
                .env("HOME", world.folder());
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let millis = world.first.space.run(move || {
                let began = Instant::now();
                let status = command.status().unwrap();
                let took = began.elapsed();
                assert!(status.success(), "{command:?}: {status}");
                took.as_secs_f64() * 1e3
            });
            lines.push(format!("{},{round},{millis:.4}", name(program)));
            times[number].push(millis);
        }
    }
    write_csv(
        &plan.out,
        "client.csv",
        "program,round,milliseconds",
        &lines,
    );
    let head = [
        "whole process, ms",
        "median",
        "95 %",
        "99 %",
        "beyond `true`",
    ];
    let mut rows = vec![row(&head)];
    let least = Figures::of(&times[0]).median();
    for ((program, _), times) in clients.iter().zip(&times) {
        let figures = Figures::of(times);
        let mut cells = vec![format!("`{}`", name(program))];
        cells.extend([50, 95, 99].map(|percent| format!("{:.2}", figures.at(percent))));
        cells.push(format!("{:.2}", figures.median() - least));
        rows.push(cells);
    }
    print_table(&rows);
}

fn name(program: &std::path::Path) -> String {
    program
        .file_name()
        .unwrap_or_default()
        .display()
        .to_string()
}
