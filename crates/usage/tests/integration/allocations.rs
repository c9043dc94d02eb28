//! The hot path allocates nothing: counted by an allocator that counts for each thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use usage::{UnknownFields, decode, record};

use crate::ORIGINAL;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged; the count is a thread-local without
// a destructor and allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`, and the layout is the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Decodes and records a body and compares how often that allocated.
fn check(body: &str, expected: usize) {
    let mut out = Vec::with_capacity(1024);
    let before = ALLOCATIONS.get();
    let usage = decode(body.as_bytes(), UnknownFields::Refuse).unwrap();
    record::encode(&usage, 1_790_000_000_123, None, &mut out);
    let counted = ALLOCATIONS.get() - before;
    assert_eq!(counted, expected, "{body}");
}

#[test]
fn bodies_without_escapes_allocate_nothing() {
    check(ORIGINAL, 0);
    check(r#"{"patientId":"1","timestamp":"2016-11-01T14:11:51.123Z","medication":"é 😀"}"#, 0);
    check(
        r#"{"patientId":"1","timestamp":"Tue, 01 Nov 2016 14:11:51 GMT","medication":"m",
        "eventId":"e","attributes":{"a":1,"b":"x"}}"#,
        0,
    );
}

/// The parser keeps its place in nested values in a stack of its own.
#[test]
fn nested_attributes_allocate_once() {
    check(
        r#"{"patientId":"1","timestamp":0,"medication":"m","attributes":{"a":[1,{"b":[]}]}}"#,
        2, // The other is the text of a timestamp sent as a number.
    );
}

/// The count would tell: an escape has to be written out, in the parser's scratch and in its copy.
#[test]
fn an_escape_allocates() {
    check(r#"{"patientId":"\u0031","timestamp":"2016-11-01T14:11:51Z","medication":"m"}"#, 2);
}
