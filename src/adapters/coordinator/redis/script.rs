//! The script of claims and publications, and how commands are exchanged.

use std::io::{self, ErrorKind, Write};

use super::super::resp::{Replies, Reply};
use super::super::stream::Stream;
use super::super::{pool, text};

/// Keys: the identity, those of the claim, then a stream for each publication. Arguments: the identity, how many keys the claim has,
/// its value and how long it lasts; then for each publication how long its stream keeps one, and the content. Answers with the number
/// of the claim's key that was taken before, and its value.
pub(super) const SCRIPT: &str = "\
local identity = redis.call('GET', KEYS[1]) or ''
if identity ~= ARGV[1] then return {-1, identity} end
local claims = 1 + tonumber(ARGV[2])
for i = 2, claims do
  local owner = redis.call('GET', KEYS[i])
  if owner then return {i - 1, owner} end
end
for i = 2, claims do
  if ARGV[4] == '' then redis.call('SET', KEYS[i], ARGV[3])
  else redis.call('SET', KEYS[i], ARGV[3], 'PX', ARGV[4]) end
end
for i = claims + 1, #KEYS do
  local at = 5 + 2 * (i - claims - 1)
  local now = redis.call('TIME')[1] * 1000
  redis.call('XADD', KEYS[i], 'MINID', '~', string.format('%d', now - ARGV[at]), '*', 'p', ARGV[at + 1])
end
return {0, ''}";

const COMMANDS: &str = "EVAL, GET, SET, TIME, XADD, XREAD, ROLE and CONFIG GET";

/// Sends commands and reads exactly as many replies.
pub(super) fn exchange<const N: usize>(
    stream: &mut Stream,
    commands: &[u8],
    most: usize,
) -> Result<[Reply; N], String> {
    try_exchange(stream, commands, most).map_err(|error| pool::cured(&error))
}

pub(super) fn try_exchange<const N: usize>(
    stream: &mut Stream,
    commands: &[u8],
    most: usize,
) -> io::Result<[Reply; N]> {
    stream.write_all(commands)?;
    stream.flush()?;
    let mut replies = Replies::of(stream, most);
    let read: Vec<Reply> = (0..N).map(|_| replies.next()).collect::<io::Result<_>>()?;
    if !replies.is_empty() {
        let what = "it sent more than was asked for";
        return Err(io::Error::new(ErrorKind::InvalidData, what));
    }
    <[Reply; N]>::try_from(read).map_err(|_| ErrorKind::InvalidData.into())
}

/// Why the server refused a command, and the cure.
pub(super) fn refusal(reply: &Reply) -> Option<String> {
    let Reply::Error(why) = reply else {
        return None;
    };
    let user = format!("the user needs the commands {COMMANDS}, and the keys of cluster.prefix");
    let cures = [
        ("NOAUTH", "set cluster.password_file"),
        ("NOPERM", user.as_str()),
        ("can't run this command", user.as_str()),
        ("can't access", user.as_str()),
        ("READONLY", "name the master in cluster.endpoints"),
        // It does not know MINID of XADD.
        (
            "Invalid stream ID",
            "cluster.fleet_key_file needs Redis 6.2 or later",
        ),
    ];
    Some(text::with_cure(text::short(why), &cures))
}
