//! Who has been woken: streams of one connection, and the connection itself. `h2` wants wakers that
//! any thread may call, though here only one does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// The wakers of one connection.
#[derive(Debug)]
pub(super) struct Wakes {
    shared: Arc<Shared>,
    connection: Waker,
    /// By the number of the stream.
    streams: Vec<(Arc<OfStream>, Waker)>,
}

#[derive(Debug, Default)]
struct Shared {
    connection: AtomicBool,
    /// Streams that are woken, each once.
    woken: Mutex<Vec<u32>>,
}

struct OfConnection(Arc<Shared>);

#[derive(Debug)]
struct OfStream {
    number: u32,
    woken: AtomicBool,
    shared: Arc<Shared>,
}

impl Wake for OfConnection {
    fn wake(self: Arc<Self>) {
        self.0.connection.store(true, Ordering::Relaxed);
    }
}

impl Wake for OfStream {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Relaxed) {
            self.shared.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
        }
    }
}

impl Default for Wakes {
    fn default() -> Self {
        let shared = Arc::<Shared>::default();
        let connection = Waker::from(Arc::new(OfConnection(Arc::clone(&shared))));
        Self { shared, connection, streams: Vec::new() }
    }
}

impl Wakes {
    /// The waker of the connection.
    pub(super) fn connection(&self) -> &Waker {
        &self.connection
    }

    /// The connection is about to be polled.
    pub(super) fn connection_polled(&self) {
        self.shared.connection.store(false, Ordering::Relaxed);
    }

    /// Whether the connection has been woken since.
    pub(super) fn is_connection_woken(&self) -> bool {
        self.shared.connection.load(Ordering::Relaxed)
    }

    /// The waker of a stream.
    pub(super) fn of(&mut self, number: u32) -> Waker {
        self.stream(number).1.clone()
    }

    /// Wakes a stream.
    pub(super) fn wake(&mut self, number: u32) {
        self.stream(number).0.wake_by_ref();
    }

    /// A stream that has been woken.
    pub(super) fn next(&mut self) -> Option<u32> {
        let woken = self.shared.woken.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        self.streams[woken as usize].0.woken.store(false, Ordering::Relaxed);
        Some(woken)
    }

    fn stream(&mut self, number: u32) -> &(Arc<OfStream>, Waker) {
        while self.streams.len() <= number as usize {
            let number = u32::try_from(self.streams.len()).expect("no more than the number asked");
            let woken = AtomicBool::new(false);
            let of_stream = Arc::new(OfStream { number, woken, shared: Arc::clone(&self.shared) });
            self.streams.push((Arc::clone(&of_stream), Waker::from(of_stream)));
        }
        &self.streams[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_woken_is_told_once() {
        let mut wakes = Wakes::default();
        assert!(wakes.next().is_none() && !wakes.is_connection_woken());
        let waker = wakes.of(3);
        waker.wake_by_ref();
        waker.wake_by_ref();
        wakes.wake(1);
        let mut woken: Vec<_> = std::iter::from_fn(|| wakes.next()).collect();
        woken.sort_unstable();
        assert_eq!(woken, [1, 3]);
        waker.wake();
        assert_eq!(wakes.next(), Some(3));
        wakes.connection().wake_by_ref();
        assert!(wakes.is_connection_woken());
        wakes.connection_polled();
        assert!(!wakes.is_connection_woken());
    }
}
