//! The greeting: each end proves to the other that it knows the secret, on this very connection. Who
//! sits between two connections and passes on what is said on one to the other has two connections
//! with nothing in common, so neither end's proof holds on the other's.

use super::link::{Link, LinkError, nanoseconds};
use super::message::{Hello, PROTOCOL, Reply};
use super::secret::{Binding, Role, Secret};
use crate::clock::now_ns;
use crate::limits::{GREETING_BYTES_MAX, GREETING_TIME};

/// Why two ends do not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum GreetingError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("its secret is another one")]
    Secret,
    #[error(
        "it speaks protocol {0}, this end speaks {PROTOCOL}: install the same version of inhale"
    )]
    Protocol(u32),
}

/// The coordinator's side. A proof that does not hold is refused before anything is proved in return.
pub(super) fn admit(
    link: &mut Link,
    secret: &Secret,
    binding: &Binding,
) -> Result<(), GreetingError> {
    let hello: Hello = first_words(link)?;
    let refused = if hello.protocol != PROTOCOL {
        Some(GreetingError::Protocol(hello.protocol))
    } else if secret.is_proved(Role::Agent, binding, &hello.proof) {
        None
    } else {
        Some(GreetingError::Secret)
    };
    let proof = match refused {
        None => secret.prove(Role::Coordinator, binding),
        Some(_) => String::new(),
    };
    link.send(&Reply { protocol: PROTOCOL, proof })?;
    refused.map_or(Ok(()), Err)
}

/// An agent's side.
pub(super) fn introduce(
    link: &mut Link,
    secret: &Secret,
    binding: &Binding,
) -> Result<(), GreetingError> {
    link.send(&Hello { protocol: PROTOCOL, proof: secret.prove(Role::Agent, binding) })?;
    let reply: Reply = first_words(link)?;
    if reply.protocol != PROTOCOL {
        return Err(GreetingError::Protocol(reply.protocol));
    }
    let proved = secret.is_proved(Role::Coordinator, binding, &reply.proof);
    if proved { Ok(()) } else { Err(GreetingError::Secret) }
}

fn first_words<T: serde::de::DeserializeOwned>(link: &mut Link) -> Result<T, LinkError> {
    let until_ns = now_ns() + nanoseconds(GREETING_TIME);
    link.receive(GREETING_BYTES_MAX, until_ns)?.ok_or(LinkError::Slow)
}
