use std::sync::Mutex;

fn main() {
    let counter = Mutex::new(0);
    let mut guard = counter.lock().unwrap();
    let value = &mut *guard;
    drop(guard); // unlocks
    *value += 1; // and this would be done without the lock
    println!("{}", counter.into_inner().unwrap());
}
