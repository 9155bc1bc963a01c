//! The threads that read, decode, crop and resize.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::job::Job;
use super::picture::Cropper;
use crate::Result;
use crate::error::setting;

/// Threads and what waits for them. Dropped, it waits until each has done its image.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    tasks: Mutex<Tasks>,
    wake: Condvar,
    work: Work,
}

/// What the threads did since they started; times are added up over them.
#[derive(Debug, Default)]
struct Work {
    images: AtomicU64,
    reading_ns: AtomicU64,
    making_ns: AtomicU64,
}

/// What the threads of a dataset did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Worked {
    /// How many threads there are.
    pub workers: usize,
    /// Images that were decoded.
    pub images: u64,
    /// Time of all threads together for reading files.
    pub reading: Duration,
    /// Time of all threads together for decoding, cropping and resizing.
    pub making: Duration,
}

type Task = (Arc<Job>, usize);

#[derive(Default)]
struct Tasks {
    read: VecDeque<Task>,
    make: VecDeque<Task>,
    closed: bool,
}

enum Next {
    Read(Task),
    Make(Task),
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next task; `None` once the pool is closed.
    fn next(&self, threads: usize) -> Option<Next> {
        let mut tasks = self.lock();
        loop {
            if tasks.closed {
                return None;
            }
            // Files are read ahead before images run out, so that slow reads and decoding go side by side.
            let next = match tasks.make.len() > 2 * threads {
                true => tasks.make.pop_front().map(Next::Make),
                false => None,
            };
            let next = next.or_else(|| tasks.read.pop_front().map(Next::Read));
            let next = next.or_else(|| tasks.make.pop_front().map(Next::Make));
            match next {
                Some(next) => return Some(next),
                None => tasks = self.wake.wait(tasks).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn run(&self, threads: usize) {
        let mut cropper = Cropper::default();
        while let Some(next) = self.next(threads) {
            let begin = Instant::now();
            let add = |to: &AtomicU64| to.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
            match next {
                Next::Read((job, _)) | Next::Make((job, _)) if job.given_up() => {}
                Next::Read((job, at)) => {
                    let read = job.read(at);
                    add(&self.work.reading_ns);
                    if job.take_read(at, read) {
                        let all = (0..job.len()).map(|at| (Arc::clone(&job), at));
                        self.lock().make.extend(all);
                        self.wake.notify_all();
                    }
                }
                Next::Make((job, at)) => {
                    let made = job.make(at, &mut cropper);
                    // Before whoever waits for the batch goes on and asks for these numbers.
                    self.work.images.fetch_add(1, Ordering::Relaxed);
                    add(&self.work.making_ns);
                    job.take_made(at, made);
                }
            }
        }
    }
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses one.
    pub(crate) fn start(workers: usize) -> Result<Self> {
        let mut pool = Self { queue: Arc::default(), threads: Vec::with_capacity(workers) };
        for number in 0..workers {
            let queue = Arc::clone(&pool.queue);
            let thread = thread::Builder::new().name(format!("data-{number}"));
            match thread.spawn(move || queue.run(workers)) {
                Ok(thread) => pool.threads.push(thread),
                Err(error) => {
                    let wanted = format!("as many threads as the system starts: {error} after {number}");
                    return Err(setting("data.workers", workers, &wanted));
                }
            }
        }
        Ok(pool)
    }

    /// Puts a job in line.
    pub(crate) fn ask(&self, job: &Arc<Job>) {
        self.queue.lock().read.extend((0..job.len()).map(|at| (Arc::clone(job), at)));
        self.queue.wake.notify_all();
    }

    pub(crate) fn worked(&self) -> Worked {
        let Work { images, reading_ns, making_ns } = &self.queue.work;
        let time = |of: &AtomicU64| Duration::from_nanos(of.load(Ordering::Relaxed));
        Worked {
            workers: self.threads.len(),
            images: images.load(Ordering::Relaxed),
            reading: time(reading_ns),
            making: time(making_ns),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let mut tasks = self.queue.lock();
            tasks.closed = true;
            tasks.read.clear();
            tasks.make.clear();
        }
        self.queue.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}
