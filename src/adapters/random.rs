//! The one source of random bytes: the operating system's.

/// N random bytes. Fails if the system has none; nothing may be sent or made then.
pub fn bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        std::io::Error::other(format!("no random bytes from the system: {error}"))
    })?;
    Ok(bytes)
}

/// A random number from `low` to `high`, both included, each equally likely.
pub(crate) fn between(low: usize, high: usize) -> std::io::Result<usize> {
    let span = high.saturating_sub(low).saturating_add(1);
    // The bias of a 64-bit number over a span of some hundred is under 2^-54.
    let number = u64::from_be_bytes(bytes()?) % u64::try_from(span).unwrap_or(1);
    Ok(low.saturating_add(usize::try_from(number).unwrap_or_default()))
}
