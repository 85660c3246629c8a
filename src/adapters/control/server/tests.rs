//! Slow, silent and unprivileged clients on real sockets, beside one that asks.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::adapters::control::{ask, bind};
use crate::core::order::Selection;

fn serve(path: &Path) {
    let server = Server::new(bind(path).unwrap()).unwrap();
    let mut waiting = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "a test's clock")]
    let now = Instant::now;
    std::thread::spawn(move || {
        server.serve(now, |question, client| {
            match question {
                Question::Close(Selection::Id(id)) => {
                    answer(client, &Answer::Closed(id.0 as usize))
                }
                Question::Grants => answer(client, &Answer::Failed("x".repeat(4 << 20))),
                Question::Status => waiting.push(client),
                _ => return false,
            }
            true
        })
    });
}

fn closes(path: &Path, number: u64) {
    let question = Question::Close(Selection::Id(crate::model::grant::GrantId(number)));
    assert_eq!(
        ask(path, &question).unwrap(),
        Answer::Closed(number as usize),
        "the question number {number} gets through"
    );
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn invalid_question_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    serve(&path);
    let said = |question: &[u8]| {
        let mut stream = UnixStream::connect(&path).unwrap();
        let _ = stream.write_all(question);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        said
    };
    if !is_root() {
        assert!(said(b"\"grants\"").contains("only root may ask"));
        return;
    }
    assert!(said(b"{\"exec\":\"sh\"}\n").contains("failed"));
    assert!(said(b"").contains("failed"));
    assert!(said(&[b'['; QUESTION_MAX * 3]).contains("failed"));
    assert_eq!(said(b"{\"close\":{\"id\":7}}"), "{\"closed\":7}\n");
    let expected = "{\"closed\":8}\n";
    assert_eq!(said(b"{\"close\":{\"id\":8}}\nand more"), expected);
}

#[test]
fn long_answer_arrives_whole() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    serve(&path);
    let Answer::Failed(long) = ask(&path, &Question::Grants).unwrap() else {
        panic!("another answer")
    };
    assert_eq!(long.len(), 4 << 20);
}

#[test]
fn other_users_are_refused() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    serve(&path);
    for (path, mode) in [(folder.path(), 0o755), (path.as_path(), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let asked = path.clone();
    let answer = std::thread::spawn(move || {
        // Of this thread alone.
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_gid(rustix::process::Gid::from_raw(65534)).unwrap();
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
        ask(&asked, &Question::Close(Selection::All))
    });
    let found = answer.join().unwrap().unwrap();
    assert_eq!(found, Answer::Failed("only root may ask".to_owned()));
    closes(&path, 1);
}
