use std::sync::Mutex;

fn main() {
    let counter = Mutex::new(0);
    let mut guard = counter.lock().unwrap();
    let value = &mut *guard; // the number behind the lock
    *value += 1;
    drop(guard); // unlocks
    *value += 1; // by now another thread could have the lock
    println!("{}", counter.into_inner().unwrap());
}
