//! A cable between agents and a coordinator that can be cut, or go dead.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const WHOLE: u8 = 0;
const DEAD: u8 = 1;

/// Forwards one connection to `to`.
pub(super) struct Cable {
    pub(super) address: String,
    state: Arc<AtomicU8>,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    pub(super) fn to(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cable = Self {
            address: listener.local_addr().unwrap().to_string(),
            state: Arc::default(),
            ends: Arc::default(),
        };
        let (state, ends) = (Arc::clone(&cable.state), Arc::clone(&cable.ends));
        thread::spawn(move || {
            let (agent, _) = listener.accept().unwrap();
            let coordinator = TcpStream::connect(to).unwrap();
            let mut kept = ends.lock().unwrap();
            for (from, into) in [(&agent, &coordinator), (&coordinator, &agent)] {
                let (from, into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                let state = Arc::clone(&state);
                thread::spawn(move || forward(from, into, &state));
                kept.push(agent.try_clone().unwrap());
                kept.push(coordinator.try_clone().unwrap());
            }
        });
        cable
    }

    /// Both ends see the connection end.
    pub(super) fn cut(&self) {
        for end in &*self.ends.lock().unwrap() {
            // The other clone may have been shut down already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Neither end sees anything any more, as when a machine loses its power.
    pub(super) fn go_dead(&self) {
        self.state.store(DEAD, Ordering::Release);
    }
}

fn forward(mut from: TcpStream, mut into: TcpStream, state: &AtomicU8) {
    let mut piece = [0; 16 << 10];
    from.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    while let Ok(read @ 1..) = from.read(&mut piece) {
        if state.load(Ordering::Acquire) == WHOLE && into.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    if state.load(Ordering::Acquire) == WHOLE {
        let _ = into.shutdown(Shutdown::Both);
    }
}
