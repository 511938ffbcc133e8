//! Ways to cut an input into pieces, as a network does. The same input is always cut the same way.

/// Where the pieces of `data` end, in order; the last is its length. Each is of 1 to `most` bytes.
pub(crate) fn ends(data: &[u8], most: usize) -> impl Iterator<Item = usize> {
    // FNV-1a for the seed, then xorshift64*.
    let seed = data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut state = seed | 1;
    let mut end = 0;
    let length = data.len();
    std::iter::from_fn(move || {
        if end == length {
            return None;
        }
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let random = usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap_or_default();
        end = length.min(end + 1 + random % most.max(1));
        Some(end)
    })
}
