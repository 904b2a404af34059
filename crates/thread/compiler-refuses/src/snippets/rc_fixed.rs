use std::sync::Arc;
use std::thread;

fn main() {
    // An Arc counts as an Rc does, but its count is atomic.
    let list = Arc::new(vec![1, 2, 3]);
    let shared = Arc::clone(&list);
    let thread = thread::spawn(move || shared.len());
    println!("{}", list.len() + thread.join().unwrap());
}
