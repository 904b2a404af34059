use std::sync::Arc;
use std::thread;

pub fn result() -> usize {
    // An Arc counts as an Rc does, but its count is atomic.
    let list = Arc::new(vec![1, 2, 3]);
    let shared = Arc::clone(&list);
    let thread = thread::spawn(move || shared.len());
    list.len() + thread.join().unwrap()
}
