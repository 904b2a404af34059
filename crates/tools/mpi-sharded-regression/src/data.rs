//! The rows, which lie about a line.

use fastrand::Rng;

pub struct Row {
    pub x: f64,
    pub y: f64,
}

/// The rows lie about the line y = B0 + B1 x, up to 1 above or below.
pub const B0: f64 = 3.0;
pub const B1: f64 = -2.0;

/// A row is made from its number: row 7 is the same, whichever rank makes it.
pub fn make_row(number: u64) -> Row {
    // Random numbers of the seeds 7 and 8 would be somewhat alike (correlated).
    // So fork draws one number, and makes another generator with that as seed.
    let mut random = Rng::with_seed(number).fork();
    let x = 2.0 * random.f64() - 1.0; // from -1 to 1
    let noise = 2.0 * random.f64() - 1.0;
    let y = B0 + B1 * x + noise;
    Row { x, y }
}
