use std::sync::Mutex;

pub fn result() -> u32 {
    let counter = Mutex::new(0);
    let mut guard = counter.lock().unwrap();
    let value = &mut *guard; // the number behind the lock
    *value += 1;
    drop(guard); // unlocks
    *value += 1; // by now another thread could have the lock
    counter.into_inner().unwrap()
}
