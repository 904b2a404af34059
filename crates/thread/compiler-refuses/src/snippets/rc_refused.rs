use std::rc::Rc;
use std::thread;

pub fn result() -> usize {
    // An Rc counts how many there are: clone adds 1, and drop subtracts 1.
    // That count is an ordinary number, not an atomic one.
    let list = Rc::new(vec![1, 2, 3]);
    let shared = Rc::clone(&list);
    let thread = thread::spawn(move || shared.len());
    list.len() + thread.join().unwrap()
}
