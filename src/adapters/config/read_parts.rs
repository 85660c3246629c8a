//! Reads the users of many files and parts, on all processors, and gives them in order.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use super::how::STACK;
use super::parts::{PART, Source};
use super::problem::Problem;
use super::user_entry::{Entry, EntryReader};

/// More threads do not help, because one puts the results together.
const THREADS_MAX: usize = 8;

/// A thread with less than so many groups, 2 MB, saves less time than its memory is worth.
const GROUPS_MIN: usize = 256;

/// What was read of a source.
pub(super) struct ReadSource<'a> {
    pub(super) file: usize,
    /// The receiver wipes this list: keys that move leave copies behind.
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) problems: Vec<Problem>,
    pub(super) is_toml: bool,
}

/// Reads all sources. Their results are taken in order, and few wait at a time.
pub(super) fn read<'a>(
    reader: &EntryReader<'a, '_>,
    sources: &[Source<'a>],
    mut take: impl FnMut(ReadSource<'a>),
) {
    let groups = groups(sources);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let most = groups.len() / GROUPS_MIN;
    let threads = processors.min(THREADS_MAX).min(most);
    if threads < 2 {
        let read = groups
            .into_iter()
            .flat_map(|group| read_group(reader, group));
        return read.for_each(take);
    }
    let groups = &groups;
    thread::scope(|scope| {
        let started = (0..threads).map(|first| {
            let (results, queue) = sync_channel(1);
            let own = groups.iter().skip(first).step_by(threads);
            let work = move || {
                for group in own {
                    if results.send(read_group(reader, group)).is_err() {
                        return;
                    }
                }
            };
            // Without a thread nothing comes, and its sources are read here.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
            queue
        });
        let queues: Vec<Receiver<_>> = started.collect();
        for (group, queue) in groups.iter().zip(queues.iter().cycle()) {
            let read = queue.recv().unwrap_or_else(|_| read_group(reader, group));
            read.into_iter().for_each(&mut take);
        }
    });
}

/// Sources next to each other that together are about as long as a part.
fn groups<'s, 'a>(sources: &'s [Source<'a>]) -> Vec<&'s [Source<'a>]> {
    let mut length = 0;
    let is_joined = |_: &Source<'a>, next: &Source<'a>| {
        length += next.part.text.len();
        let is_short = length < PART;
        if !is_short {
            length = 0;
        }
        is_short
    };
    sources.chunk_by(is_joined).collect()
}

/// A key that moves leaves a copy on the stack of this thread, which is wiped here.
fn read_group<'a>(reader: &EntryReader<'a, '_>, group: &[Source<'a>]) -> Vec<ReadSource<'a>> {
    let read = group
        .iter()
        .map(|source| read_source(reader, source))
        .collect();
    zeroize::zeroize_stack::<STACK>();
    read
}

#[inline(never)]
fn read_source<'a>(reader: &EntryReader<'a, '_>, source: &Source<'a>) -> ReadSource<'a> {
    let text = source.part.text();
    let values = text.values();
    let entries = values.map(|values| reader.read_users_file(&text, &values));
    ReadSource {
        file: source.file,
        is_toml: entries.is_some(),
        entries: entries.unwrap_or_default(),
        problems: text.into_problems(),
    }
}
