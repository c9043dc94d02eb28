//! The secret that a coordinator and its agents share, and what it proves.

use std::io::Read as _;
use std::path::Path;
use std::{fmt, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::limits::{SECRET_BYTES_MAX, SECRET_BYTES_MIN};

/// The environment variable that holds the secret where no file does. There is no flag for it: what
/// is on a command line is in the list of processes and in the shell's history.
pub const SECRET_VARIABLE: &str = "INHALE_LOAD_SECRET";

/// A shared secret. It is never shown and never sent.
#[derive(Clone)]
pub struct Secret {
    key: hmac::Key,
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Neither a file nor the variable.
    #[error(
        "no secret: give the same one to the coordinator and to each agent, with \
         --agents-secret-file FILE or in {SECRET_VARIABLE} (`openssl rand -base64 32` makes one)"
    )]
    Missing,
    /// The file cannot be read.
    #[error("the secret in {path}: {error}")]
    File {
        /// As it was given.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// It could be guessed.
    #[error(
        "the secret has {0} bytes; it takes at least {SECRET_BYTES_MIN}, since whoever pretends to be \
         a coordinator could guess a short one (`openssl rand -base64 32` makes a good one)"
    )]
    Short(usize),
    /// It is something else.
    #[error("the secret is longer than {SECRET_BYTES_MAX} bytes: is it the right file?")]
    Long,
}

/// Who proves something: so that what one side says is of no use to repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Agent,
    Coordinator,
}

/// What is particular to one connection: both of its ends know it, and the ends of no other do.
pub(super) type Binding = [u8; 32];

impl Secret {
    /// From these bytes, without white space at their ends.
    ///
    /// # Errors
    /// When there are too few or too many.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let bytes = bytes.trim_ascii();
        match bytes.len() {
            short if short < SECRET_BYTES_MIN => Err(SecretError::Short(short)),
            long if long > SECRET_BYTES_MAX => Err(SecretError::Long),
            _ => Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, bytes) }),
        }
    }

    /// From the file, or without one from [`SECRET_VARIABLE`].
    ///
    /// # Errors
    /// When there is none, or none that will do.
    pub fn find(file: Option<&Path>) -> Result<Self, SecretError> {
        let Some(path) = file else {
            let variable = std::env::var_os(SECRET_VARIABLE).ok_or(SecretError::Missing)?;
            return Self::new(variable.as_encoded_bytes());
        };
        let mut bytes = Vec::new();
        // One byte more than white space and secret may have, to know that there is more.
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(2 * SECRET_BYTES_MAX as u64).read_to_end(&mut bytes));
        match read {
            Ok(_) => Self::new(&bytes),
            Err(error) => Err(SecretError::File { path: path.display().to_string(), error }),
        }
    }

    /// Proves, to whoever knows the secret too, that `role` knows it and speaks on this connection.
    pub(super) fn prove(&self, role: Role, binding: &Binding) -> String {
        STANDARD.encode(hmac::sign(&self.key, &statement(role, binding)))
    }

    /// Whether it was proved. Takes the same time whatever is wrong.
    pub(super) fn is_proved(&self, role: Role, binding: &Binding, proof: &str) -> bool {
        let Ok(proof) = STANDARD.decode(proof) else { return false };
        hmac::verify(&self.key, &statement(role, binding), &proof).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

fn statement(role: Role, binding: &Binding) -> Vec<u8> {
    let role: &[u8] = match role {
        Role::Agent => b"inhale load agents, agent:",
        Role::Coordinator => b"inhale load agents, coordinator:",
    };
    [role, binding].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_ENOUGH: &[u8] = b"correct horse battery";

    #[test]
    fn a_proof_holds_for_one_role_one_connection_and_one_secret() {
        let secret = Secret::new(LONG_ENOUGH).unwrap();
        let proof = secret.prove(Role::Agent, &[7; 32]);
        assert!(secret.is_proved(Role::Agent, &[7; 32], &proof));
        assert!(!secret.is_proved(Role::Coordinator, &[7; 32], &proof), "a proof sent back");
        assert!(!secret.is_proved(Role::Agent, &[8; 32], &proof), "a proof of another connection");
        let other = Secret::new(b"correct horse batterz").unwrap();
        assert!(!other.is_proved(Role::Agent, &[7; 32], &proof), "another secret");
        for garbage in ["", "AAAA", "?", &proof[1..]] {
            assert!(!secret.is_proved(Role::Agent, &[7; 32], garbage), "{garbage}");
        }
    }

    #[test]
    fn short_and_long_ones_are_refused() {
        for (bytes, expected) in [
            (&b""[..], "Short(0)"),
            (b"0123456789abcde\n", "Short(15)"),
            (&[b'a'; SECRET_BYTES_MAX + 1], "Long"),
        ] {
            let error = Secret::new(bytes).expect_err(expected);
            assert_eq!(format!("{error:?}"), expected);
        }
        Secret::new(b" 0123456789abcdef\r\n").expect("16 bytes and white space");
    }

    #[test]
    fn a_file_is_read_and_nothing_shows_what_was_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, [LONG_ENOUGH, b"\n"].concat()).unwrap();
        let secret = Secret::find(Some(&path)).unwrap();
        let proof = secret.prove(Role::Agent, &[1; 32]);
        assert!(Secret::new(LONG_ENOUGH).unwrap().is_proved(Role::Agent, &[1; 32], &proof));
        assert_eq!(format!("{secret:?}"), "Secret");
        std::fs::write(&path, "short but secret").unwrap();
        std::fs::write(&path, "short-secret").unwrap();
        let error = Secret::find(Some(&path)).expect_err("short");
        assert!(!format!("{error} {error:?}").contains("short-secret"), "{error}");
        let error = Secret::find(Some(&dir.path().join("none"))).expect_err("no file");
        assert!(matches!(error, SecretError::File { .. }), "{error}");
        std::fs::write(&path, vec![b'a'; 1 << 20]).unwrap();
        let error = Secret::find(Some(&path)).expect_err("a big file");
        assert!(matches!(error, SecretError::Long), "{error}");
    }
}
