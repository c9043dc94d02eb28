//! Whom TLS trusts and as whom it speaks: a plan's certificates made a configuration of rustls, before
//! the first request.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, WantsVerifier,
};

use crate::plan::{Pem, Protocol, Scenario, Tls};

use super::tls::Opening;

/// Sessions kept for resumption, over all servers.
const SESSIONS_KEPT: usize = 256;

/// Why TLS cannot be spoken as the plan says.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What was given is not what it should be.
    #[error("--{flag} is not {what}: {why}")]
    Pem {
        /// The flag that gave it.
        flag: &'static str,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        why: String,
    },
    /// The system trusts nobody.
    #[error("the system has no certificates of authorities; name a file of some with `--ca`")]
    NoAuthorities,
    /// The host can be in no certificate.
    #[error("no certificate can be for `{0}`")]
    Name(String),
    /// The key does not go with the certificate, or something like it.
    #[error("the client's certificate cannot be used with its key (--cert, --key): {0}")]
    Client(String),
}

/// How connections of a scenario begin TLS; nothing for a target of `http://`.
pub(super) fn opening(scenario: &Scenario) -> Result<Option<Opening>, TlsError> {
    if !scenario.target.https {
        return Ok(None);
    }
    let host = &scenario.target.host;
    let name = ServerName::try_from(host.clone()).map_err(|_| TlsError::Name(host.clone()))?;
    let tls = &scenario.connections.tls;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has what the versions need");
    let mut config = authenticated(trusting(builder, &provider, tls)?, tls)?;
    let protocol: &[u8] = match scenario.connections.protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 { .. } => b"h2",
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Some(Opening { config: Arc::new(config), name }))
}

/// The same for one worker, with sessions of its own to resume.
pub(super) fn of_worker(opening: &Opening, resume: bool) -> Opening {
    let mut config = ClientConfig::clone(&opening.config);
    if resume {
        config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
    }
    Opening { config: Arc::new(config), name: opening.name.clone() }
}

type Trusting = ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn trusting(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    provider: &Arc<CryptoProvider>,
    tls: &Tls,
) -> Result<Trusting, TlsError> {
    if tls.insecure {
        let anyone = Arc::new(Anyone(Arc::clone(provider)));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anyone));
    }
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(pem) => {
            for certificate in certificates("ca", pem)? {
                roots
                    .add(certificate)
                    .map_err(|error| not("ca", "a certificate of an authority", &error))?;
            }
        }
        None => {
            // Some that the system has may be too odd to be of use; the others still are.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoAuthorities);
            }
        }
    }
    Ok(builder.with_root_certificates(roots))
}

fn authenticated(builder: Trusting, tls: &Tls) -> Result<ClientConfig, TlsError> {
    let Some((certificate, key)) = &tls.client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("cert", certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.0.as_bytes())
        .map_err(|error| not("key", "a private key in PEM", &error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::Client(error.to_string()))
}

/// The certificates that `flag` gave; at least one.
fn certificates(flag: &'static str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "a certificate in PEM";
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.0.as_bytes()).collect();
    match all.map_err(|error| not(flag, what, &error))? {
        none if none.is_empty() => Err(not(flag, what, &"it has none")),
        some => Ok(some),
    }
}

fn not(flag: &'static str, what: &'static str, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::Pem { flag, what, why: why.to_string() }
}

/// Trusts whatever certificate is shown, but not whoever cannot prove to have its key: a handshake
/// costs what it would with trust.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
