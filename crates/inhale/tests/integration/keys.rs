//! Idempotency keys: one key is one usage, also across kill -9.

use std::collections::HashSet;

use crate::http::{BODY, post, post_keyed};
use crate::process::Folder;

#[test]
fn a_key_is_stored_once_also_across_a_kill() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    let first = post_keyed(address, "once", BODY).expect(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    let ids: HashSet<String> = std::thread::scope(|scope| {
        let posting: Vec<_> = (0..16)
            .map(|_| scope.spawn(move || post_keyed(address, "at-once", BODY).id()))
            .collect();
        posting.into_iter().map(|posting| posting.join().expect("it was answered")).collect()
    });
    assert_eq!(ids.len(), 1);
    // The control: without a key, equal bodies are different usages.
    assert_ne!(post(address, BODY).id(), post(address, BODY).id());
    server.kill();

    let server = folder.serve(&[]);
    let again = post_keyed(server.address, "once", BODY).expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.id(), first.id());
    let other = BODY.replace("Albuterol", "Budesonide");
    post_keyed(server.address, "once", &other).expect(422);
    server.stop();
}
