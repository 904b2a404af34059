use std::sync::Arc;
use std::thread;

fn main() {
    let list = Arc::new(vec![1, 2, 3]); // its reference count is atomic
    let shared = Arc::clone(&list);
    let thread = thread::spawn(move || shared.len());
    println!("{}", list.len() + thread.join().unwrap());
}
