//! TLS between a coordinator and its agents: 1.3 alone, with a key pair that lasts as long as the
//! coordinator. Nobody vouches for the key, and nobody looks at it: who is at the other end is proved
//! afterwards by the shared secret, bound to the connection. So there is no certificate either, but
//! the bare public key (RFC 7250), with no names and dates in it that could be wrong.

use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, ServerConfig,
    ServerConnection, SignatureScheme,
};

use super::secret::Binding;

/// The label under which TLS derives what is particular to a connection (RFC 9266).
const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The coordinator's side, with a key pair made now.
pub(super) fn coordinator() -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(provider::default_provider());
    let no_key = || Error::General("no key pair can be made".to_owned());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map_err(|_| no_key())?;
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()));
    let signing = provider.key_provider.load_private_key(private)?;
    let public = signing.public_key().ok_or_else(no_key)?.as_ref().to_vec();
    let key = CertifiedKey::new(vec![CertificateDer::from(public)], signing);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(key))));
    // Every connection is proved by itself: nothing is resumed.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// An agent's side.
pub(super) fn agent() -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(provider::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKey { provider }))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// A connection's coordinator end.
pub(super) fn accept(config: &Arc<ServerConfig>) -> Result<Connection, Error> {
    ServerConnection::new(Arc::clone(config)).map(Connection::from)
}

/// A connection's agent end.
pub(super) fn connect(config: &Arc<ClientConfig>) -> Result<Connection, Error> {
    let name = ServerName::try_from("coordinator").expect("a name that DNS would take");
    ClientConnection::new(Arc::clone(config), name).map(Connection::from)
}

/// What is particular to the connection, once its handshake is over.
pub(super) fn binding(tls: &Connection) -> Result<Binding, Error> {
    tls.export_keying_material(Binding::default(), BINDING_LABEL, None)
}

/// Takes any key, once its owner has shown that it has the private one.
#[derive(Debug)]
struct AnyKey {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 alone is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
