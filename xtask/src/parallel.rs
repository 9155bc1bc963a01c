//! Several programs at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does the work for each item, so many at a time, and hands back what it gave in the order of the items.
pub fn each<T: Sync, R: Send>(items: &[T], jobs: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { break };
                    let result = work(item);
                    // A panic of another thread ends the scope, whatever is done here.
                    done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((place, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..20).rev().collect();
        let slow = |item: &u64| {
            thread::sleep(std::time::Duration::from_micros(100 * item));
            2 * item
        };
        let wanted: Vec<u64> = items.iter().map(|item| 2 * item).collect();
        assert_eq!(each(&items, 4, slow), wanted);
        assert_eq!(each(&items, 1, slow), wanted);
        assert!(each(&[], 4, slow).is_empty());
    }
}
