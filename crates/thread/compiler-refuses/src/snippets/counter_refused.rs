use std::thread;

pub fn result() -> u32 {
    let mut counter = 0;
    thread::scope(|scope| {
        scope.spawn(|| counter += 1);
        scope.spawn(|| counter += 1); // a second writer
    });
    counter
}
