use std::rc::Rc;
use std::thread;

fn main() {
    let list = Rc::new(vec![1, 2, 3]); // its reference count is an ordinary number
    let shared = Rc::clone(&list);
    let thread = thread::spawn(move || shared.len());
    println!("{}", list.len() + thread.join().unwrap());
}
