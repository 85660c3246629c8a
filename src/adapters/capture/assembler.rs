//! Turns named jump targets of a BPF program into distances, for the classic filter and the hint filter. Pure.

/// A place that instructions jump to. All jumps go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Ipv6,
    Udp,
    Hint,
    Knock,
    Copy,
    CountLength,
    CountHint,
    Count,
    Drop,
    Pass,
}

pub(super) enum Line<I> {
    Label(Label),
    Instruction(I),
}

/// Encodes the instructions. `encode` gets a function that returns the distance to a label. A label that is missing or
/// lies before the jump has a distance that the kernel refuses.
pub(super) fn assemble<I, O>(
    lines: &[Line<I>],
    encode: impl Fn(&I, &dyn Fn(Label) -> usize) -> O,
) -> Vec<O> {
    let mut labels = Vec::new();
    let mut instructions = Vec::new();
    for line in lines {
        match line {
            Line::Label(label) => labels.push((*label, instructions.len())),
            Line::Instruction(instruction) => instructions.push(instruction),
        }
    }
    let distance = |from: usize, wanted: Label| {
        let label = labels.iter().find(|(label, _)| *label == wanted);
        let distance = label.and_then(|(_, to)| to.checked_sub(from.checked_add(1)?));
        distance.unwrap_or(usize::MAX)
    };
    let encoded = instructions.into_iter().enumerate();
    encoded
        .map(|(at, instruction)| encode(instruction, &|label| distance(at, label)))
        .collect()
}
