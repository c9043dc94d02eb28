//! Reads keys from their tables into filters: after a start the keys of all parts; later those of a
//! part that takes no more runs, to replace the layers of its filter with one of the right size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use fjall::Keyspace;

use super::IndexError;
use super::key_filter::Layer;
use super::part::Part;
use super::rows::read_keyed;

/// One thread at a time, newest part first. Keys applied meanwhile are inserted by the thread that
/// applies them. When dropped, it stops early.
#[derive(Default)]
pub(super) struct Refill {
    stop: Arc<AtomicBool>,
    /// Returns whether it could read all.
    thread: Option<JoinHandle<bool>>,
    /// The disk or the library has failed. Lookups then read the tables, and report that.
    failed: bool,
}

impl Refill {
    /// Keeps filters for the keys of all parts that ended at `oldest_ms` or later, and for no others.
    /// The last of `parts` takes runs.
    pub(super) fn look(&mut self, parts: &mut [Part], oldest_ms: u64) -> Result<(), IndexError> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.wait();
        }
        let may_read = self.thread.is_none() && !self.failed;
        let growing = parts.len().saturating_sub(1);
        let mut todo = Vec::new();
        for (at, part) in parts.iter_mut().enumerate().rev() {
            if let Some(layer) = part.remember_keys(at == growing, oldest_ms, may_read) {
                todo.push((part.keys.clone(), layer));
            }
        }
        if !todo.is_empty() {
            let stop = Arc::clone(&self.stop);
            let run = move || read_all(&todo, &stop);
            let thread = std::thread::Builder::new().name("index-filters".into()).spawn(run)?;
            self.thread = Some(thread);
        }
        Ok(())
    }

    /// Waits until the thread has ended.
    pub(super) fn wait(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // A panic has been logged by the panic hook.
        self.failed |= !thread.join().unwrap_or(false);
    }
}

impl Drop for Refill {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wait();
    }
}

fn read_all(todo: &[(Keyspace, Arc<Layer>)], stop: &AtomicBool) -> bool {
    super::yield_to_others();
    todo.iter().all(|(keys, layer)| match read(keys, layer, stop) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "keys could not be read into a filter");
            false
        }
    })
}

fn read(keys: &Keyspace, layer: &Layer, stop: &AtomicBool) -> Result<(), IndexError> {
    for row in keys.iter() {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(id) = read_keyed(&row.key()?)? {
            layer.insert(id);
        }
    }
    layer.set_whole();
    Ok(())
}
