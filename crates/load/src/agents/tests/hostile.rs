//! Whoever is at the other end: without the secret, between two ends, of another version, or not an
//! agent at all.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::fake::{Fake, Then};
use super::runs::join;
use super::*;
use crate::agents::greeting::{self, GreetingError};
use crate::agents::link::LinkError;
use crate::agents::message::{Hello, PROTOCOL, Reply};
use crate::agents::secret::{Binding, Role};
use crate::limits::{GREETING_BYTES_MAX, MESSAGE_TIME, REFUSED_MAX, SILENCE_MAX};

/// Both ends of a greeting, each with its secret.
fn greeted(
    coordinator: &Secret,
    agent: &Secret,
) -> (Result<(), GreetingError>, Result<(), GreetingError>) {
    let (mut there, mut here) = links();
    thread::scope(|scope| {
        let admitted = scope.spawn(|| {
            let binding = there.binding().unwrap();
            greeting::admit(&mut there, coordinator, &binding)
        });
        let binding = here.binding().unwrap();
        let introduced = greeting::introduce(&mut here, agent, &binding);
        (admitted.join().unwrap(), introduced)
    })
}

#[test]
fn both_must_have_the_secret() {
    let (admitted, introduced) = greeted(&secret(), &secret());
    admitted.unwrap();
    introduced.unwrap();
    let (admitted, introduced) = greeted(&secret(), &other_secret());
    assert!(matches!(admitted, Err(GreetingError::Secret)), "{admitted:?}");
    assert!(matches!(introduced, Err(GreetingError::Secret)), "{introduced:?}");
}

#[test]
fn whoever_only_sends_a_proof_back_has_none() {
    let (mut there, mut here) = links();
    thread::scope(|scope| {
        scope.spawn(|| {
            let hello: Hello = next(&mut there).unwrap();
            there.send(&Reply { protocol: PROTOCOL, proof: hello.proof }).unwrap();
        });
        let binding = here.binding().unwrap();
        let introduced = greeting::introduce(&mut here, &secret(), &binding);
        assert!(matches!(introduced, Err(GreetingError::Secret)), "{introduced:?}");
    });
}

/// A greeting through somebody who has a connection with each end and passes on what is said.
/// `bound` says what is particular to an end's connection.
fn relayed(bound: fn(&Link) -> Binding) -> (Result<(), GreetingError>, Result<(), GreetingError>) {
    let (mut coordinator, mut to_coordinator) = links();
    let (mut to_agent, mut agent) = links();
    thread::scope(|scope| {
        scope.spawn(move || {
            let hello: Value = next(&mut to_agent).unwrap();
            to_coordinator.send(&hello).unwrap();
            let reply: Value = next(&mut to_coordinator).unwrap();
            to_agent.send(&reply).unwrap();
        });
        let admitted = scope.spawn(move || {
            let binding = bound(&coordinator);
            greeting::admit(&mut coordinator, &secret(), &binding)
        });
        let binding = bound(&agent);
        let introduced = greeting::introduce(&mut agent, &secret(), &binding);
        (admitted.join().unwrap(), introduced)
    })
}

#[test]
fn whoever_sits_between_is_refused_by_both() {
    let (admitted, introduced) = relayed(|link| link.binding().unwrap());
    assert!(matches!(admitted, Err(GreetingError::Secret)), "{admitted:?}");
    assert!(matches!(introduced, Err(GreetingError::Secret)), "{introduced:?}");
    // The negative control: the connection is what refuses them, not the secret.
    let (admitted, introduced) = relayed(|_| [0; 32]);
    admitted.expect("without what is particular to the connection nothing is noticed");
    introduced.expect("nor here");
}

#[test]
fn both_ends_of_one_connection_know_what_is_particular_to_it_and_no_other() {
    let ((one, there), (other, _)) = (links(), links());
    assert_eq!(one.binding().unwrap(), there.binding().unwrap());
    assert_ne!(one.binding().unwrap(), other.binding().unwrap());
    assert_ne!(one.binding().unwrap(), [0; 32]);
}

#[test]
fn another_version_is_told_by_its_number() {
    let (mut there, mut here) = links();
    thread::scope(|scope| {
        let admitted = scope.spawn(move || {
            let binding = there.binding().unwrap();
            greeting::admit(&mut there, &secret(), &binding)
        });
        here.send(&serde_json::json!({ "protocol": 9, "kind": "of another sort" })).unwrap();
        let reply: Reply = next(&mut here).unwrap();
        assert_eq!((reply.protocol, reply.proof.as_str()), (PROTOCOL, ""));
        let error = admitted.join().unwrap().expect_err("another version");
        assert!(error.to_string().contains("it speaks protocol 9, this end speaks 2"), "{error}");
    });
    let (mut there, mut here) = links();
    thread::scope(|scope| {
        scope.spawn(move || {
            let binding = there.binding().unwrap();
            let proof = secret().prove(Role::Coordinator, &binding);
            drop(next::<Hello>(&mut there));
            there.send(&Reply { protocol: 9, proof }).unwrap();
        });
        let binding = here.binding().unwrap();
        let introduced = greeting::introduce(&mut here, &secret(), &binding);
        assert!(matches!(introduced, Err(GreetingError::Protocol(9))), "{introduced:?}");
    });
}

#[test]
fn a_message_that_is_too_large_is_refused_by_its_length() {
    let (mut there, mut here) = links();
    here.send_encoded(&vec![b' '; GREETING_BYTES_MAX + 1]).unwrap();
    let error = there.receive::<Value>(GREETING_BYTES_MAX, after(LONG)).expect_err("too large");
    assert!(matches!(error, LinkError::Large { bytes: 4_097, bytes_max: 4_096 }), "{error}");
    let (mut there, mut here) = links();
    here.send_encoded(&[b"[\"", &[b'a'; GREETING_BYTES_MAX - 4][..], b"\"]"].concat()).unwrap();
    let message: Value = next(&mut there).unwrap();
    assert_eq!(message[0].as_str().unwrap().len(), GREETING_BYTES_MAX - 4, "not a byte too large");
}

#[test]
fn messages_come_whole_one_by_one_and_large() {
    let (mut there, mut here) = links();
    assert!(there.receive::<Value>(9, now_ns()).unwrap().is_none(), "nothing is not waited for");
    let large = "x".repeat(3 << 20);
    thread::scope(|scope| {
        scope.spawn(|| {
            for message in ["a", &large, "b"] {
                here.send(&message).unwrap();
            }
            here.close();
        });
        for message in ["a", &large, "b"] {
            let got: String = there.receive(4 << 20, after(LONG)).unwrap().unwrap();
            assert!(got == message);
        }
        let error = there.receive::<Value>(9, after(LONG)).expect_err("it is gone");
        assert!(matches!(error, LinkError::Closed), "{error}");
    });
}

#[test]
fn a_message_that_trickles_in_is_given_up() {
    let (mut there, mut here) = links();
    let message = vec![b'1'; 64 << 10];
    let (begun_ns, until_ns) = (now_ns(), after(LONG));
    let mut sent = here.trickle(&message[..0], message.len());
    loop {
        // A byte each millisecond, so that silence is never the matter.
        match there.receive::<Value>(message.len(), after(Duration::from_millis(1))) {
            Ok(None) if now_ns() < until_ns && sent < message.len() => {}
            Ok(_) => panic!("it should not have been waited for"),
            Err(error) => {
                assert!(matches!(error, LinkError::Slow), "{error}");
                break;
            }
        }
        sent += here.trickle(&message[sent..=sent], 0);
    }
    assert!(now_ns() - begun_ns >= super::super::link::nanoseconds(MESSAGE_TIME));
    there.hear_from(now_ns()).expect("it was not silent");
}

#[test]
fn repro_the_time_in_which_nobody_listened_is_nobodys_silence() {
    // Each end with half a message unread; both were busy for longer than a message may take.
    let (mut excused, mut says) = links();
    let (mut blamed, mut says_too) = links();
    for (hears, says) in [(&mut excused, &mut says), (&mut blamed, &mut says_too)] {
        says.send(&"whole").unwrap();
        says.trickle(b"\"ha", 6);
        let whole: String = next(hears).unwrap();
        assert_eq!(whole, "whole");
        assert!(hears.receive::<Value>(9, after(Duration::from_millis(20))).unwrap().is_none());
    }
    let (since_ns, back_ns) = (now_ns(), after(MESSAGE_TIME.max(SILENCE_MAX) * 11 / 10));
    while now_ns() < back_ns {
        thread::yield_now();
    }
    excused.was_busy_since(since_ns);
    excused.hear_from(now_ns()).expect("it was not silent");
    says.trickle(b"lf\"", 0);
    assert_eq!(next::<String>(&mut excused).unwrap(), "half");
    // The control: without an excuse it was silent, and slow.
    let error = blamed.hear_from(now_ns()).expect_err("silent");
    assert!(matches!(error, LinkError::Silent), "{error}");
    let error = next::<String>(&mut blamed).expect_err("slow");
    assert!(matches!(error, LinkError::Slow), "{error}");
}

#[test]
fn a_handshake_that_does_not_go_on_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    let end = tls::accept(&tls::coordinator().unwrap()).unwrap();
    let error = Link::establish(socket, end, Duration::from_millis(50)).expect_err("silent");
    assert!(matches!(error, LinkError::Slow), "{error}");
    drop(silent);
}

#[test]
fn knocking_is_not_put_up_with_for_ever() {
    let (coordinator, address) = listening();
    let over = AtomicBool::new(false);
    let refused = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                let Ok(mut socket) = TcpStream::connect(&address) else { return };
                let _ = socket.write_all(b"GET / HTTP/1.1\r\n\r\n");
                // Until it is refused, or closed because there are too many.
                let _ = socket.read_to_end(&mut Vec::new());
            }
        });
        let mut refused = 0;
        let gathered = coordinator.gather(1, LONG, &mut |news| {
            refused += u64::from(matches!(news, Some(GatherNews::Refused { .. })));
            true
        });
        over.store(true, Ordering::Release);
        let error = gathered.expect_err("nobody has joined");
        assert!(matches!(error, CoordinatorError::Refused { .. }), "{error}");
        refused
    });
    assert_eq!(refused, REFUSED_MAX - 1, "the last is the error");
}

#[test]
fn whoever_is_no_agent_is_refused_and_the_agents_still_join() {
    let fake = Fake::new(100, 1, Then::End);
    let (coordinator, address) = listening();
    thread::scope(|scope| {
        // Not TLS; TLS and then nothing of ours; and an agent with another secret.
        let mut strangers = vec![scope.spawn(|| {
            let mut socket = TcpStream::connect(&address).unwrap();
            socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            socket.set_read_timeout(Some(LONG)).unwrap();
            // An alert of TLS, and the end.
            let _ = socket.read_to_end(&mut answer);
            assert!(answer.len() < 100);
        })];
        strangers.push(scope.spawn(|| {
            let mut link = connect(&address);
            link.send_encoded(b"\xff\x00{").unwrap();
            next::<Value>(&mut link).expect_err("refused");
        }));
        strangers.push(scope.spawn(|| {
            let secret = other_secret();
            let joining = Joining { address: &address, secret: &secret, name: "", keep: true };
            let error = agent(&joining, &fake, &|| false, &mut |_| {}).expect_err("refused");
            assert!(matches!(error, AgentError::Secret(_)), "{error}");
            assert!(error.to_string().contains("has another secret"), "{error}");
        }));
        let (mut refused, mut served) = (Vec::new(), None);
        let group = coordinator
            .gather(1, LONG, &mut |news| {
                match news {
                    Some(GatherNews::Refused { why, .. }) => refused.push(why.clone()),
                    // The agent comes once all the others were refused.
                    None if refused.len() == 3 && served.is_none() => {
                        served = Some(scope.spawn(|| join(&address, &fake)));
                    }
                    _ => {}
                }
                true
            })
            .unwrap();
        refused.sort();
        let reasons =
            ["TLS failed", "a message that cannot be understood", "its secret is another"];
        for reason in reasons {
            assert!(refused.iter().any(|why| why.contains(reason)), "{reason} in {refused:?}");
        }
        strangers.into_iter().for_each(|stranger| stranger.join().unwrap());
        let ready = group.prepare(fake.job(1), &mut || true).unwrap();
        assert_eq!(conduct(ready, |_| Wish::GoOn).unwrap().finished.missing.len(), 0);
        served.unwrap().join().unwrap().unwrap();
    });
}
