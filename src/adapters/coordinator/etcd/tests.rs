use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::*;
use crate::model::cluster::{CoordinatorEndpoint, CoordinatorKind};

const WITHIN: Duration = Duration::from_secs(10);

/// A server that says yes to everything.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while lines.read_line(&mut line).ok()? > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            line.clear();
        }
        lines.read_exact(&mut vec![0; length]).ok()?;
        let yes = r#"{"header":{"revision":"1"},"ID":"7","TTL":"100000","succeeded":true,"responses":[{"response_put":{}}]}"#;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
        write!(stream, "{head} {}\r\n\r\n{yes}", yes.len()).ok()?;
    }
}

#[test]
fn heartbeat_needs_no_claims() {
    let address = serve();
    let cluster = Cluster {
        coordinator: CoordinatorKind::Etcd,
        endpoints: vec![CoordinatorEndpoint {
            secure: false,
            host: address.ip().to_string(),
            port: address.port(),
        }],
        ca_file: None,
        cert_file: None,
        cert_key_file: None,
        user: None,
        password_file: None,
        fleet_key_file: Some("fleet.key".into()),
        prefix: "/postern/".to_owned(),
        deadline: Duration::from_millis(50),
        member: "gate1".to_owned(),
    };
    let gate = GateFacts {
        name_hash: "0".repeat(16),
        window_ms: 30_000,
        longest_grant_ms: 60_000,
        roster: None,
    };
    let etcd = Etcd::new(cluster, Credentials::default(), &gate).unwrap();
    // It is known, and it answers too late for claims: `prepare` grants no lease.
    let connection = etcd.connection(clock::instant() + WITHIN).unwrap();
    etcd.identify(connection).unwrap();
    let beat = Publish {
        kind: PublishKind::Heartbeat,
        name: "01".to_owned(),
        sealed: "AAA=".to_owned(),
        lasts_ms: 6_000,
    };
    etcd.publish(&[beat], WITHIN).unwrap();
}
